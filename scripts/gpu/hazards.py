"""What can only go wrong on the device itself: too little memory, an interrupt, two processes at once, bits that differ."""
import json
import os
import signal
import subprocess
import time

import torch

from .features import BASE, folder, trace
from .work import OutOfTime, need


def sweep(part):
    """Two processes share a sweep."""
    check = part.check
    out, both = check.folder / "sweep", []
    words = ["sweep", "--quiet", "--prompt", "a red apple", "--model", check.tiny, "--device", check.device, "--steps", "3,4",
             "--seed", "1-3", "--out", out, "--no-report"]
    for number in (1, 2):
        if part.left() < 5:
            raise OutOfTime
        line = [check.program, *words, "--shard", f"{number}/2"]
        both.append(subprocess.Popen([str(word) for word in line], env=check.environment, stderr=subprocess.PIPE,
                                     stdout=subprocess.DEVNULL, text=True, start_new_session=True))
    for process in both:
        try:
            _, err = process.communicate(timeout=max(1, min(120, part.left())))
        except subprocess.TimeoutExpired:
            for other in both:
                other.kill()
            raise
        need(process.returncode == 0, f"exit code {process.returncode}: {err[-300:]}")
    done = [json.loads(path.read_text())["status"] for path in out.glob("cells/*/run.json")]
    need(done == ["complete"] * 6, f"six cells were to be complete: {done}")
    need((out / "exports/grid.png").exists(), "there is no grid")
    return {"cells": len(done)}


def memory(part):
    """Too little memory: exit code 2, a message that says so, and a record of how far it came."""
    check, out = part.check, folder(part.check, "device", "too-large")
    words = ["trace", "--prompt", "a red apple", "--model", check.pocket, "--device", check.device, "--dtype", "f32", "--steps",
             "3", "--scheduler", "ddim", "--no-report", "--out", out]
    hog = None
    try:
        if check.device.startswith("cuda"):
            free, _ = torch.cuda.mem_get_info()
            # What is left is enough for the context and the weights, and not for a batch of large pictures.
            hog = torch.empty(max(0, free - 3 * 2**30), dtype=torch.uint8, device=check.device)
            words += ["--width", "1024", "--height", "1024", "--batch-size", "16"]
        else:
            words += ["--width", "16384", "--height", "16384", "--batch-size", "4096"]
        done = part.sdviz(*words, expect=2)
    finally:
        del hog
        if check.device.startswith("cuda"):
            torch.cuda.empty_cache()
    said = done.err.strip()
    need("memory" in said.lower(), f"the message does not speak of memory: {said[-300:]}")
    need("hint:" in said, f"there is no way out in it: {said[-300:]}")
    need("panicked" not in said, f"it panicked: {said[-300:]}")
    record = json.loads((out / "run.json").read_text()) if (out / "run.json").exists() else None
    need(not check.device.startswith("cuda") or record, "nothing was recorded")
    need(record is None or record["status"] == "failed", f"the record says {record and record['status']}")
    return {"said": said[-400:]}


def interrupt(part):
    """Ctrl-C in the middle: exit code 2, and what is there can be read."""
    check, out = part.check, folder(part.check, "device", "stopped")
    words = ["trace", "--prompt", "a red apple", "--model", check.pocket, "--device", check.device, "--steps", "500",
             "--scheduler", "ddim", "--no-report", "--out", out]
    process = subprocess.Popen([str(word) for word in (check.program, *words)], env=check.environment, text=True,
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + min(60, part.left())
        while not (out / "steps/003.safetensors").exists():
            need(process.poll() is None and time.monotonic() < until, "it did not come to step 3")
            time.sleep(0.05)
        asked = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    need(process.returncode == 2, f"exit code {process.returncode}")
    need(json.loads((out / "run.json").read_text())["status"] == "failed", "the record does not say that it was stopped")
    part.sdviz("filmstrip", "--quiet", out, "--out", check.folder / "stopped.png")
    return {"seconds_to_stop": round(time.monotonic() - asked, 2), "said": err.strip()[-200:]}


def twice(part):
    """The same command twice: on a CPU it gives the same bytes, on a GPU that is a figure."""
    found, check = {}, part.check
    for dtype in ("f32", "f16"):
        both = [trace(part, "device", f"twice/{dtype}-{number}", check.pocket, [*BASE, "--record", "all", "--decode", "final"], dtype)[0]
                for number in (1, 2)]
        names = sorted(path.relative_to(both[0]) for path in both[0].rglob("*.safetensors"))
        found[dtype] = all((both[0] / name).read_bytes() == (both[1] / name).read_bytes() for name in names)
    need(check.device != "cpu" or all(found.values()), f"on the CPU the same bytes were to come: {found}")
    return {"same_bytes": found}


def alone(part):
    """What needs the device for itself, one after the other."""
    for name, work in (("sweep, two processes", sweep), ("too little memory", memory), ("Ctrl-C", interrupt), ("twice", twice)):
        part.case(name, lambda work=work: work(part))
