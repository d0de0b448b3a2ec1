#!/usr/bin/env python3
"""Makes the pictures of README.md and docs/ that show the embedded model, by the commands that stand below them.

    figures.py                    all of them, into their places
    figures.py filmstrip samples  some
    figures.py --list             what there is
    figures.py --out FOLDER …     into that folder instead, and says which bytes are other than those that are there

The table is figures.toml. Each figure is made in a folder of its own, target/figures/NAME, by the program that
`cargo build` made, with one thread: the same program and model give the same bytes on the same processor. Needs Python
3.11 and nothing from PyPI.
"""
import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "scripts/figures.toml"
WORK = ROOT / "target/figures"
# What the commands name by paths of the repository.
SHARED = ["assets", "examples", "icons", "web"]
# What has to be there for a figure, and the way to it.
NEEDS = {
    "icons": (["icons/node_modules"], "make icons"),
    "browser": (["web/node_modules"], "cd web && npm ci"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to make; all where none is named")
    parser.add_argument("--list", action="store_true", help="list the figures")
    parser.add_argument("--out", type=Path, help="write below this folder, not below the repository")
    parser.add_argument("--program", type=Path, default=ROOT / "target/debug/sdviz", help="the sdviz to run")
    options = parser.parse_args()
    figures = tomllib.loads(TABLE.read_text())["figure"]
    unknown = sorted(set(options.names) - {figure["name"] for figure in figures})
    if unknown:
        sys.exit(f"no figure `{unknown[0]}` in {TABLE.name}; `--list` lists them")
    figures = [figure for figure in figures if not options.names or figure["name"] in options.names]
    if options.list:
        for figure in figures:
            print(f"{figure['name']:22}{figure['page']:20}{' '.join(figure['pictures'])}")
        return
    missing = {need: NEEDS[need][1] for figure in figures for need in lacks(figure)}
    if missing:
        sys.exit("\n".join(f"`{need}` is missing for some figures: {way}" for need, way in missing.items()))
    if not options.program.is_file():
        sys.exit(f"no program at {options.program}: cargo build")
    # One that fails leaves the others to be made.
    failed = [figure["name"] for figure in figures if not make(figure, options)]
    if failed:
        sys.exit(f"not made: {' '.join(failed)}")


def lacks(figure):
    """What the figure needs and is not there."""
    need = figure.get("needs")
    return [need] if need and not all((ROOT / path).exists() for path in NEEDS[need][0]) else []


def make(figure, options):
    """Runs a figure's commands in a fresh folder and puts its pictures where they belong."""
    folder = WORK / figure["name"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in SHARED:
        (folder / name).symlink_to(ROOT / name)
    begun = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", figure["commands"]], cwd=folder, env=environment(options.program), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if done.returncode:
        print(f"{figure['name']}: exit status {done.returncode}\n{done.stdout[-2000:]}", file=sys.stderr)
        return False
    for place, made in figure["pictures"].items():
        if not (folder / made).is_file():
            there = sorted(str(path.relative_to(folder)) for path in (folder / made).parent.glob("*"))
            print(f"{figure['name']}: no {made}; there is {' '.join(there)}", file=sys.stderr)
            return False
    for place, made in figure["pictures"].items():
        keep(place, folder / made, options.out or ROOT)
    print(f"{figure['name']}: {time.monotonic() - begun:.0f} s", flush=True)
    return True


def environment(program):
    """That of the commands: `sdviz` is the program, and nothing of the user's changes what it draws."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SDVIZ_")}
    path = os.pathsep.join([str(program.resolve().parent), kept.get("PATH", "")])
    return kept | {"PATH": path, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "2"}


def keep(place, made, root):
    """Copies a picture, and says what became of the one that was there."""
    new, old = made.read_bytes(), (ROOT / place).read_bytes() if (ROOT / place).is_file() else None
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_bytes(new)
    change = "new" if old is None else "the same" if old == new else f"changed, was {len(old):,} bytes"
    print(f"  {shlex.quote(place)}: {len(new):,} bytes, {change}")


if __name__ == "__main__":
    main()
