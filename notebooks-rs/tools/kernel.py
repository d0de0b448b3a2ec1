#!/usr/bin/env python3
"""Prepares what the notebooks need, all of it in `notebooks-rs/.kernel`. With `--python-only`, `venv/` alone.

    venv/    JupyterLab and what executes notebooks
    bin/     evcxr_jupyter, the Rust kernel
    sdviz/   a crate that stands for sdviz in the notebooks
    reader/  the same without libtorch, which only reads what was recorded
    cells/   where each running kernel compiles its cells (start_kernel.py)

and the kernelspecs `sdviz-rust` and `sdviz-reader`, which name them; with `--reader` the second alone, and then libtorch
need not be there. A second call does only what is missing or has changed.

The kernel would compile sdviz and everything below it once more in a folder of its own, for some ten minutes. It need
not: the crate in `sdviz/` hands on the library that cargo has built already. For types the kernel reads sources, with
rust-analyzer; so the crate has two faces, and the configuration `sdviz_source`, which only rust-analyzer sees, chooses.
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

EVCXR = "0.22.0"
TOOLS = pathlib.Path(__file__).resolve().parent
ROOT = TOOLS.parent.parent
HOME = TOOLS.parent / ".kernel"
CARGO = os.environ.get("CARGO", "cargo")

MANIFEST = """[package]
name = "sdviz"
version = "0.0.0"
edition = "2024"

[lints.rust]
unexpected_cfgs = "allow"

[target.'cfg(sdviz_source)'.dependencies]
source = { package = "sdviz-source", path = "read/sdviz" }
"""
# What rust-analyzer reads: of sdviz and of those crates below it whose types a cell can hold the sources, each without
# what lies below it in turn. It looks through all that it has read after every cell; a name that it does not find is of
# no concern to it, and nothing is compiled here.
READ = """[package]
name = "{name}"
version = "0.0.0"
edition = "{edition}"

[lib]
path = "{path}"

[features]
default = {features}
libtorch = []

[dependencies]
{dependencies}
"""

FACES = """//! sdviz as cargo has built it ({stamp}), and as rust-analyzer reads it.
#[cfg(not(any(sdviz_source, rust_analyzer)))]
pub use built::*;
#[cfg(any(sdviz_source, rust_analyzer))]
pub use source::*;
"""


class Kind:
    """A kernel with its library: the whole of sdviz, or what reads records."""

    def __init__(self, name, shown, folder, libtorch):
        self.name, self.shown, self.home, self.libtorch = name, shown, HOME / folder, libtorch
        # The crates below sdviz whose types a cell can hold.
        self.held = ["sdviz-base", *(["tch"] if libtorch else []), "image", "ndarray"]

    def features(self):
        return [] if self.libtorch else ["--no-default-features"]


READER = Kind("sdviz-reader", "Rust (sdviz without libtorch)", "reader", False)
WHOLE = Kind("sdviz-rust", "Rust (sdviz)", "sdviz", True)


def run(command, **options):
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def venv():
    """JupyterLab in an environment of its own; made again when the requirements change."""
    wanted = (TOOLS / "requirements.txt").read_text()
    done = HOME / "venv" / "requirements.txt"
    if not done.exists() or done.read_text() != wanted:
        run([sys.executable, "-m", "venv", "--clear", HOME / "venv"])
        run([HOME / "venv/bin/pip", "install", "--quiet", "-r", TOOLS / "requirements.txt"])
        done.write_text(wanted)


def evcxr():
    """The Rust kernel, lightly optimised: in full it takes 14 minutes of processor time, so 9. Without any optimisation
    it takes 6, and its rust-analyzer is slow at every cell."""
    done = HOME / "bin" / f"evcxr-{EVCXR}"
    if not done.exists():
        light = {"CARGO_PROFILE_RELEASE_OPT_LEVEL": "1", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
        building = HOME / "building"
        command = [CARGO, "install", "--locked", f"evcxr_jupyter@{EVCXR}", "--root", HOME, "--target-dir", building]
        run(command, env={**os.environ, **light})
        shutil.rmtree(building)
        done.touch()


def library(kind):
    """Builds sdviz and gives the library's file, the folder of the crates below it, and where native libraries lie."""
    command = [CARGO, "build", "--lib", *kind.features(), "--message-format=json-render-diagnostics"]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in told.splitlines()]
    rlib = next(
        pathlib.Path(file)
        for message in messages
        if message["reason"] == "compiler-artifact" and message["manifest_path"] == str(ROOT / "Cargo.toml")
        for file in message["filenames"]
        if file.endswith(".rlib")
    )
    native = {
        path.removeprefix("native=")
        for message in messages
        if message["reason"] == "build-script-executed"
        for path in message["linked_paths"]
    }
    return rlib, rlib.parent / "deps", sorted(native)


def read(kind):
    """The crates that rust-analyzer reads."""
    command = [CARGO, "metadata", "--format-version=1", "--locked"]
    packages = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)["packages"]
    names = {"sdviz": "sdviz-source"}
    for package in packages:
        name = package["name"]
        if name != "sdviz" and name not in kind.held:
            continue
        lib = next(target for target in package["targets"] if "lib" in target["kind"])
        below = {"sdviz": kind.held, "sdviz-base": kind.held[1:]}.get(name, [])
        text = READ.format(
            name=names.get(name, name),
            edition=lib["edition"],
            path=lib["src_path"],
            features=json.dumps(["libtorch"] if kind.libtorch else []),
            dependencies="\n".join(f'{held} = {{ path = "../{held}" }}' for held in below),
        )
        write(kind.home / "read" / name / "Cargo.toml", text)


def kernel(kind):
    """The crate that stands for sdviz, what the kernel reads at its start, and the kernelspec."""
    rlib, crates, native = library(kind)
    stamp = hashlib.sha256(rlib.read_bytes()).hexdigest()[:16]
    kept = kind.home / "libsdviz.rlib"
    write(kind.home / "Cargo.toml", MANIFEST)
    read(kind)
    write(kind.home / "src/lib.rs", FACES.format(stamp=stamp))
    shutil.copyfile(rlib, kept)
    flags = ["-Cprefer-dynamic", f"--extern=built={kept}", f"-Ldependency={crates}", *(f"-Lnative={path}" for path in native)]
    # Flags with blanks in them, as in the path of this folder: what parts them is not a blank but the unit separator.
    start = [
        # A cell is compiled more often than it is run twice, and what is slow in it lies in the library.
        ":opt 0",
        f":build_env CARGO_ENCODED_RUSTFLAGS={chr(0x1F).join(flags)}",
        f':dep sdviz = {{ path = "{kind.home}" }}',
    ]
    config = kind.home / "config"
    write(config / "init.evcxr", "\n".join(start) + "\n")
    environment = {"EVCXR_CONFIG_DIR": str(config), "RUSTFLAGS": "--cfg sdviz_source"}
    if kind.libtorch:
        libtorch = pathlib.Path(os.environ.get("LIBTORCH", ROOT / "libtorch")).resolve()
        environment |= {"LIBTORCH": str(libtorch), "LD_LIBRARY_PATH": str(libtorch / "lib"), "GOMP_SPINCOUNT": "8000"}
    spec = {
        "argv": [str(HOME / "venv/bin/python"), str(TOOLS / "start_kernel.py"), "{connection_file}"],
        "display_name": kind.shown,
        "language": "rust",
        "interrupt_mode": "message",
        "env": environment,
    }
    write(HOME / f"venv/share/jupyter/kernels/{kind.name}/kernel.json", json.dumps(spec, indent=1) + "\n")


def main():
    HOME.mkdir(exist_ok=True)
    venv()
    if "--python-only" not in sys.argv:
        evcxr()
        for kind in [READER] if "--reader" in sys.argv else [READER, WHOLE]:
            kernel(kind)


if __name__ == "__main__":
    main()
