"""All goldens that hang on the embedded model, anew: for when it has been exchanged. `make goldens-pocket` calls it.

    python make_pocket_goldens.py SDVIZ [NAME …] [--list]

SDVIZ is the program, with the model in it that the goldens are for: one of them is of a run that it records. Names are those
of the files, without `.safetensors`. What each holds, and with which versions it is made, README.md says.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
POCKET = HERE / "../../assets/pocket"
RUN = "--model pocket --steps 8 --seed 1 --record all --decode none --device cpu --no-report --out pocket-run".split()
# The scripts and what they are told; SDVIZ makes RUN first where one reads it.
GOLDENS = {
    "pocket": ["make_goldens.py", "--model", str(POCKET), "--out", "pocket.safetensors", "--preset", "pocket", "--threads", "1"],
    "geometry": ["make_geometry_goldens.py", RUN[-1]],
    "layers": ["make_layer_goldens.py"],
    "attention": ["make_attention_goldens.py"],
    "blend": ["make_blend_goldens.py"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdviz", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of them")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    options = parser.parse_args()
    for name in options.names:
        if name not in GOLDENS:
            sys.exit(f"no golden `{name}` of the pocket model; there are {', '.join(GOLDENS)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or GOLDENS:
            make(name, options, Path(folder))


def make(name, options, folder):
    """Runs a golden's script beside the others, as README.md has it, and says whether the file has changed."""
    script, *told = GOLDENS[name]
    commands = [[sys.executable, script, *(str(folder / word) if word == RUN[-1] else word for word in told)]]
    if RUN[-1] in told:
        traced = [*RUN[:-1], str(folder / RUN[-1])]
        commands.insert(0, [str(options.sdviz.resolve()), "trace", "--prompt", "a red apple on a blue background", *traced])
    file = HERE / f"{name}.safetensors"
    before = file.read_bytes() if file.is_file() else None
    for command in commands:
        print("$", *command, flush=True)
        if not options.list:
            subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    if not options.list:
        print(f"{file.name}: {'the same' if file.read_bytes() == before else 'changed'}", flush=True)


if __name__ == "__main__":
    main()
