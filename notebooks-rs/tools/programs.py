"""Fills notebooks with outputs without a kernel: the lessons' programs print what each cell shows, in the kernel's form.

It is the same code with the same displays, compiled once for all lessons instead of cell by cell. Outputs carry no
counters and no times, so that the same code gives the same notebook.
"""
import concurrent.futures
import os
import re
import subprocess
import time

import nbformat
from pack import pack

CELL = re.compile(r"^LESSON_CELL (\w+)\n", re.MULTILINE)
HARNESS = re.compile(r"^test \S+ has been running for over 60 seconds\n", re.MULTILINE)
CONTENT = re.compile(r"EVCXR_BEGIN_CONTENT ([^ \n]+)\n(.*?)\nEVCXR_END_CONTENT\n", re.DOTALL)


# Programs at a time.
AT_A_TIME = 2


def fill(lessons, anew=False):
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        for done in [pool.submit(fill_one, lesson, anew) for lesson in lessons]:
            done.result()


def fill_one(lesson, anew):
    began = time.time()
    shown = outputs(printed(lesson))
    notebook, before = lesson.notebook("en", None), lesson.read()
    kept = {c.source: c.outputs for c in before.cells if c.cell_type == "code"} if before else {}
    for place, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        # Cells that draw without a seed show something else each time: what stood there stays, if the model is the same.
        stays = not anew and "chance" in cell.metadata.get("tags", []) and kept.get(cell.source)
        cell.outputs = stays or pack(shown[str(place)])
    notebook.metadata["sdviz"]["executed"] = lesson.code_hash()
    nbformat.write(notebook, lesson.path())
    print(f"{lesson.name}: {time.time() - began:.0f} s", flush=True)


def printed(lesson):
    """What the lesson's program prints."""
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "test", "--quiet", "--test", "lessons", "--", "--include-ignored", "--nocapture", f"lesson_{lesson.number}::"]
    run = subprocess.run(command, env={**os.environ, "LESSON_OUTPUTS": "1"}, stdout=subprocess.PIPE, text=True)
    if run.returncode or "LESSON_CELL end" not in run.stdout:
        raise SystemExit(f"{lesson.name} failed; the last that it printed:\n{CONTENT.sub('', run.stdout)[-2000:]}")
    return run.stdout


def outputs(text):
    """The outputs of each cell: what it printed, and what it ends with, in all its forms."""
    parts = CELL.split(text)[1:]
    return {name: of_cell(part) for name, part in zip(parts[::2], parts[1::2])}


def of_cell(part):
    found = []
    data = dict(CONTENT.findall(part))
    said = HARNESS.sub("", CONTENT.sub("", part)).strip("\n")
    if said:
        found.append(nbformat.v4.new_output("stream", name="stdout", text=said + "\n"))
    if data:
        found.append(nbformat.v4.new_output("execute_result", data=data))
    return found
