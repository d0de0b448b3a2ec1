"""Executes notebooks headless: the lessons to see that they run, the lecturer's notebook for what it shows."""
import collections
import concurrent.futures
import json
import math
import os
import pathlib
import re
import shutil
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from pack import pack

TOOLS = pathlib.Path(__file__).resolve().parent

# evcxr compiles every cell; the first one also what the notebooks are linked with.
TIMEOUT = 1200


# Grids of many pictures, in bytes: from here on they are left with 256 colours.
LARGEST_PICTURE = 110_000


# Kernels at a time: one cell's computing fills another's compiling.
KERNELS = 2
# How long each lesson took the last time, in seconds.
TAKEN = TOOLS.parent / ".kernel" / "seconds.json"


def all_of(lessons):
    """Executes lessons with their Rust kernels, and keeps nothing of what they show.

    A kernel takes half a minute until its first cell has run, so each is kept for several lessons. The longest go first,
    and whichever kernel is free takes the next, so that all end at about the same time.
    """
    # The kernels share the processors: threads of one that wait for each other would take time from the other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // KERNELS)))
    taken, began = json.loads(TAKEN.read_text()) if TAKEN.exists() else {}, time.time()
    waiting = collections.deque(sorted(lessons, key=lambda lesson: -taken.get(lesson.name, math.inf)))
    with concurrent.futures.ThreadPoolExecutor(KERNELS) as pool:
        for done in [pool.submit(some_of, waiting, taken) for _ in range(min(KERNELS, len(lessons)))]:
            done.result()
    TAKEN.write_text(json.dumps(taken, indent=1) + "\n")
    print(f"all: {time.time() - began:.0f} s")


def some_of(waiting, taken):
    """Executes lessons, as long as some are waiting, one after the other."""
    kernel = None
    try:
        while lesson := next_of(waiting):
            began = time.time()
            if kernel is None or kernel.name != lesson.kernel["name"]:
                if kernel:
                    kernel.stop()
                kernel = Kernel(lesson.kernel["name"])
            kernel.execute(lesson)
            taken[lesson.name] = round(time.time() - began, 1)
            print(f"{lesson.name}: {taken[lesson.name]:.0f} s", flush=True)
    finally:
        # Where one lesson has failed, the others need not be waited for.
        waiting.clear()
        if kernel:
            kernel.stop()


def next_of(waiting):
    try:
        return waiting.popleft()
    except IndexError:
        return None


class Kernel:
    """A Rust kernel that executes one lesson after the other, each from a clean start."""

    def __init__(self, name):
        self.name, self.fresh = name, True
        self.client = client(nbformat.v4.new_notebook(), TOOLS.parent, name)
        self.running = self.client.setup_kernel()
        self.running.__enter__()

    def stop(self):
        self.running.__exit__(None, None, None)

    def execute(self, lesson):
        if not self.fresh:
            self.clear()
        self.fresh = False
        self.client.nb = lesson.notebook("en", None)
        self.client.reset_execution_trackers()
        for place, cell in enumerate(self.client.nb.cells):
            try:
                self.client.execute_cell(cell, place)
            except CellExecutionError as error:
                raise SystemExit(f"{lesson.name}: {plain(str(error))}") from None
            if cell.cell_type == "code":
                refuse(cell, lesson)

    def clear(self):
        """Forgets variables, functions and the process that held them. What rust-analyzer has read and cargo compiled
        stays; the crate is forgotten too, and named again as in the kernel's configuration."""
        named = pathlib.Path(self.client.km.kernel_spec.env["EVCXR_CONFIG_DIR"]) / "init.evcxr"
        again = [line for line in named.read_text().splitlines() if line.startswith(":dep")]
        cell = nbformat.v4.new_code_cell("\n".join([":clear", *again]))
        self.client.nb = nbformat.v4.new_notebook(cells=[cell])
        self.client.execute_cell(cell, 0)


def lecture(notebook, path):
    """Executes the lecturer's notebook with the `sdviz` of this repository, and keeps the outputs."""
    programs = path.parent.parent / "target" / "debug"
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    shutil.rmtree(path.parent / "lecture", ignore_errors=True)
    execute(notebook, path, "python3")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            settle(cell)
            pack(cell.outputs, largest=LARGEST_PICTURE)
    nbformat.write(notebook, path)


def client(notebook, folder, kernel):
    return NotebookClient(
        notebook,
        timeout=TIMEOUT,
        startup_timeout=TIMEOUT,
        kernel_name=kernel,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )


def execute(notebook, path, kernel):
    try:
        client(notebook, path.parent, kernel).execute()
    except CellExecutionError as error:
        raise SystemExit(f"{path.stem}: {plain(str(error))}") from None


def refuse(cell, lesson):
    """A panic and an `Err` reach the notebook as words on stderr only; a quiet lesson has none."""
    said = "".join(output.text for output in cell.outputs if output.get("name") == "stderr").strip()
    if said and "may-fail" not in cell.metadata.get("tags", []):
        raise SystemExit(f"{lesson.name}: this cell failed, or said something on stderr:\n\n{cell.source}\n\n{plain(said)}")


def settle(cell):
    """Takes away what differs from one run to the next and what says nothing: counters, and the value of a loop."""
    cell.execution_count = None
    printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    shown = [o for o in cell.outputs if o.output_type == "execute_result" and o.data.get("text/plain") != "()"]
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed)] * bool(printed) + shown
    for output in cell.outputs:
        if output.output_type == "execute_result":
            output.execution_count = None
            output.metadata = {}


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
