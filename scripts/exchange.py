#!/usr/bin/env python3
"""Exchanges the embedded model, and makes everything again that shows it or its numbers.

    exchange.py MODEL          copies the folder that a training left into assets/pocket, then makes all the rest
    exchange.py                makes the rest for the model that is there; goes on where it was stopped
    exchange.py --list         the steps, and which of them are done
    exchange.py --again card   makes one step again, and those behind it

What is done is noted in target/exchange, by the weights' hash: another model begins anew. A step that fails ends it: mend what
it says, and start it again. Some hours on two cores, most of them the gallery's. Needs `make icons`, Chromium, Node with
`npm ci` done in web/, and for the goldens a Python with diffusers (tests/goldens/README.md).
"""
import argparse
import hashlib
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POCKET = ROOT / "assets/pocket"
PARTS = ["model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae"]
DATA = "target/exchange/data"
TRAINED = "target/exchange/training"


def steps(options):
    """Names and commands. `remove` and `copy` are done here."""
    sdviz, python = "target/debug/sdviz", options.goldens_python
    gallery = f'GALLERY="{options.gallery}"' if options.gallery else ""
    return [
        ("preview", [
            "cargo build", f"{sdviz} dataset build --count 1088 --seed 77 --out {DATA} --force",
            f"{sdviz} train preview-vae --data {DATA} --model pocket --out {TRAINED} --force",
            f"copy {TRAINED}/model/preview_vae assets/pocket/preview_vae", "cargo build",
        ]),
        ("goldens", [f"make goldens-pocket GOLDENS_PYTHON={python}", "make parity"]),
        # Early, since claims that no longer hold are mended by hand, which can be done while the rest is made.
        ("lessons", ["make test-lessons", "make lesson-outputs ANEW=--anew"]),
        ("figures", ["make figures"]),
        ("card", ["make card"]),
        ("gallery", ["remove target/gallery", f"make gallery {gallery}"]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, metavar="MODEL", help="the new model's folder")
    parser.add_argument("--goldens-python", default="venv/bin/python", help="a Python with diffusers [default: venv/bin/python]")
    parser.add_argument("--gallery", default="", help="options for the gallery, as in make gallery GALLERY=…")
    parser.add_argument("--list", action="store_true", help="print the steps and stop")
    parser.add_argument("--again", metavar="STEP", help="this step is not done, nor are those behind it")
    options = parser.parse_args()
    if options.model:
        take(options.model.resolve())
    noted, all_steps = ROOT / "target/exchange" / fingerprint(), steps(options)
    names = [name for name, _ in all_steps]
    if options.again:
        if options.again not in names:
            sys.exit(f"no step `{options.again}`; there are {', '.join(names)}")
        for name in names[names.index(options.again):]:
            (noted / name).unlink(missing_ok=True)
    for name, commands in all_steps:
        if options.list:
            print(f"{name:10}{'done' if (noted / name).is_file() else ''}", *commands, sep="\n    ")
        elif not (noted / name).is_file():
            made(name, commands, noted)
    if not options.list:
        print("made: now read again what stands in sentences (CONTRIBUTING.md), and `make test`")


def take(model):
    """Copies a trained model's parts into the repository."""
    missing = [part for part in PARTS if not (model / part).exists()]
    if missing:
        sys.exit(f"`{model}` is no whole model: it has no {missing[0]}")
    for part in PARTS:
        copy(model / part, POCKET / part)


def fingerprint():
    """What hangs on the model: the weights, but for the preview decoder's, which a step makes."""
    weights = sorted(path for path in POCKET.rglob("*.safetensors") if path.parent.name != "preview_vae")
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in weights)).hexdigest()[:16]


def made(name, commands, noted):
    started = time.monotonic()
    for command in commands:
        print(f"$ {command}", flush=True)
        verb, *words = shlex.split(command)
        if verb == "copy":
            copy(*(ROOT / word for word in words))
        elif verb == "remove":
            shutil.rmtree(ROOT / words[0], ignore_errors=True)
        elif code := subprocess.run([verb, *words], cwd=ROOT).returncode:
            sys.exit(f"{name}: exit status {code} of {command}")
    noted.mkdir(parents=True, exist_ok=True)
    (noted / name).touch()
    print(f"{name}: made in {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


def copy(old, new):
    """A file, or a folder's files in place of all that were there."""
    if old.is_file():
        shutil.copyfile(old, new)
        return
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for path in sorted(old.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            shutil.copyfile(path, new / path.name)


if __name__ == "__main__":
    main()
