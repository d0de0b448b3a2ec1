"""Starts the Rust kernel in a folder of its own, so that two open notebooks do not compile in one place.

Jupyter calls it with the connection file. Folders of kernels that are gone are removed first: a killed one cannot.
"""
import os
import pathlib
import shutil
import sys
import tempfile

HOME = pathlib.Path(__file__).resolve().parent.parent / ".kernel"


def lives(process):
    return pathlib.Path("/proc", process).exists() if sys.platform == "linux" else False


cells = HOME / "cells"
if " " in str(cells):
    # evcxr tells the process that runs the cells where they lie in a line of words, which a blank in the path breaks.
    cells = pathlib.Path(tempfile.gettempdir()) / f"sdviz-cells-{os.getuid()}"
cells.mkdir(mode=0o700, exist_ok=True)
for left in cells.iterdir():
    if not lives(left.name):
        shutil.rmtree(left, ignore_errors=True)
# The kernel keeps the number of this process.
own = cells / str(os.getpid())
own.mkdir()
shutil.copyfile(HOME.parent.parent / "Cargo.lock", own / "Cargo.lock")
kernel = HOME / "bin" / "evcxr_jupyter"
os.execve(kernel, [kernel, "--control_file", sys.argv[1]], {**os.environ, "EVCXR_TMPDIR": str(own)})
