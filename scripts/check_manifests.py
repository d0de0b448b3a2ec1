"""Whether what Cargo.toml says of the crates is true: the oldest Rust, and what a registry would be given.

    python3 scripts/check_manifests.py

`rust-version` is the same in both crates and no older than what any dependency asks for. Packed, each crate stays below what
the registry takes, and holds every file that its sources embed, but for the weights of the embedded model. Needs no network once
the dependencies are there; `make lint` runs it.
"""
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES = {"sdviz": ROOT, "sdviz-base": ROOT / "crates/base"}
MOST_BYTES = 10 * 1024 * 1024
# What cargo adds, or writes anew.
MADE = (".cargo_vcs_info.json", "Cargo.toml.orig")


def cargo(*words):
    made = subprocess.run([os.environ.get("CARGO", "cargo"), *words], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return made.stdout.decode()


def number(version):
    return tuple(int(part) for part in (version.split(".") + ["0", "0"])[:3])


def oldest_rust():
    """What is wrong with `rust-version`."""
    packages = json.loads(cargo("metadata", "--locked", "--format-version", "1"))["packages"]
    own = {p["name"]: p["rust_version"] for p in packages if p["name"] in CRATES}
    if len(set(own.values())) != 1 or None in own.values():
        yield f"the crates do not promise one `rust-version`: {own}"
        return
    promised = own["sdviz"]
    for package in packages:
        if package["rust_version"] and number(package["rust_version"]) > number(promised):
            yield f"`rust-version` is {promised}, and {package['name']} {package['version']} needs {package['rust_version']}"


def packed(name):
    """What is wrong with the package of a crate."""
    folder = CRATES[name]
    files = set(cargo("package", "--list", "--allow-dirty", "--quiet", "-p", name).split("\n")) - {""}
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz", compresslevel=6) as archive:
        for file in sorted(files - set(MADE)):
            # A crate of a workspace has the workspace's lock file.
            path = folder / file if (folder / file).is_file() else ROOT / file
            archive.add(path, file, recursive=False)
    if len(held.getvalue()) > MOST_BYTES:
        yield f"the package of {name} has {len(held.getvalue()) / 2**20:.1f} MiB, the registry takes {MOST_BYTES / 2**20:.0f}"
    for source in sorted((folder / "src").rglob("*.rs")):
        for embedded in re.findall(r'include_(?:bytes|str)!\("([^"]+)"\)', source.read_text()):
            file = os.path.relpath((source.parent / embedded).resolve(), folder)
            if file not in files:
                yield f"{source.relative_to(ROOT)} embeds {file}, which the package of {name} leaves out"


def main():
    wrong = [*oldest_rust(), *(line for name in CRATES for line in packed(name))]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
