"""Executes notebooks headless: the lessons to see that they run, the lecturer's notebook for what it shows."""
import concurrent.futures
import os
import re
import shutil
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from pack import pack

# evcxr compiles every cell; the first one also what the notebooks are linked with.
TIMEOUT = 1200


# Grids of many pictures, in bytes: from here on they are left with 256 colours.
LARGEST_PICTURE = 110_000


# Kernels at a time: one cell's computing fills another's compiling.
KERNELS = 2


def all_of(lessons):
    """Executes lessons with the Rust kernel; what they show is not kept."""
    # The kernels share the processors: threads of one that wait for each other would take time from the other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // KERNELS)))
    with concurrent.futures.ThreadPoolExecutor(KERNELS) as pool:
        for done in [pool.submit(one, lesson) for lesson in lessons]:
            done.result()


def one(lesson):
    notebook, began = lesson.notebook("en", None), time.time()
    execute(notebook, lesson.path(), "sdviz-rust")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            refuse(cell, lesson)
    print(f"{lesson.name}: {time.time() - began:.0f} s", flush=True)


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


def execute(notebook, path, kernel):
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        startup_timeout=TIMEOUT,
        kernel_name=kernel,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
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
