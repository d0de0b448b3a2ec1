"""Starts the program sdviz with the libtorch that the installed torch brings. torch itself is not imported, which takes seconds."""
import importlib.util
import os
import pathlib
import re
import sys

MADE_FOR = "2.13"  # libtorch's functions differ from version to version
PROGRAM = pathlib.Path(__file__).resolve().parent / "bin" / "sdviz"


def fail(text, hint):
    sys.stderr.write(f"error: {text}\nhint: {hint}\n")
    sys.exit(2)


def torch_folder():
    """The folder of the installed torch, which has libtorch of the right version."""
    spec = importlib.util.find_spec("torch")
    places = [pathlib.Path(place) for place in (spec.submodule_search_locations if spec else None) or []]
    found = next((place for place in places if (place / "lib/libtorch_cpu.so").is_file()), None)
    python = sys.executable or "python3"
    hint = f"`{python} -m pip install \"torch=={MADE_FOR}.*\"`; pytorch.org says how to get the build for the CPU alone"
    if found is None:
        fail(f"sdviz needs PyTorch {MADE_FOR}, and this Python has none", hint)
    try:
        version = re.search(r"__version__ = '([^']*)'", (found / "version.py").read_text()).group(1)
    except (OSError, AttributeError):
        version = "of an unknown version"
    if not f"{version}.".startswith(f"{MADE_FOR}."):
        fail(f"sdviz needs PyTorch {MADE_FOR}, and `{found}` is {version}", f"{hint}; in a venv of its own if something needs {version}")
    return found


def main():
    libraries = torch_folder() / "lib"
    environment = dict(os.environ)
    # The program looks in the site-packages that it lies in by itself.
    if PROGRAM.parents[2] / "torch/lib" != libraries:
        paths = [str(libraries), environment.get("LD_LIBRARY_PATH")]
        environment["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
    cuda = libraries / "libtorch_cuda.so"
    if cuda.is_file() and any(os.path.exists(driver) for driver in ("/dev/nvidiactl", "/dev/dxg")):
        environment["SDVIZ_LIBTORCH_CUDA"] = str(cuda)
    os.execve(PROGRAM, ["sdviz", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
