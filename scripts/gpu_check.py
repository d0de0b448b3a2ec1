#!/usr/bin/env python3
"""Checks and measures sdviz on a machine with an NVIDIA GPU. One command, no arguments:

    python3 scripts/gpu_check.py

It takes under eight minutes, prints a line for each part and a table at the end, and writes all figures to gpu-check.json,
which is whole after every single case: a machine that is taken away leaves what was known by then. Exit code 0 when every
check held, 1 when one did not.

    python3 scripts/gpu_check.py --device cpu --quick     the same, shortened, on any machine
    python3 scripts/gpu_check.py --only parity,speed      some of the parts

Needs Python 3.10 or newer with torch, and the program: `target/debug/sdviz`, `--program FILE`, or `bin/sdviz.xz` beside the
scripts, as `make gpu-check-pack` packs it. diffusers is measured beside it where it can be imported. No network.
"""
import argparse
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from gpu import features, hazards, parity, speed, training, verbs  # noqa: E402
from gpu.work import Check, Figures, Part  # noqa: E402

# By value: what is first is known even if the machine is taken away early. Seconds are each part's limit within MINUTES.
MINUTES = 8
PARTS = [
    ("parity", 100, parity.f32, "the goldens in f32, without TF32"),
    ("full", 110, features.full_size, "a v1-4 of full size, random weights, everything recorded"),
    ("speed", 130, speed.beside, "a step, a decoding, 50 steps, memory; beside diffusers"),
    ("alone", 60, hazards.alone, "two processes, too little memory, Ctrl-C"),
    ("training", 50, training.training, "both stages of a model from scratch: pictures a second"),
    ("features", 100, features.same, "every feature, beside the CPU"),
    ("half", 60, parity.half, "pictures in f16, bf16, and f32 with TF32"),
    ("halves", 30, features.halves, "everything recorded in f16 and bf16"),
    ("verbs", 60, verbs.verbs, "the other verbs that compute"),
    ("pocket", 30, speed.pocket, "the embedded model's steps"),
]


def machine(device):
    """What this was measured on."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda, "cpus": torch.get_num_threads(),
             "cudnn": torch.backends.cudnn.version(), "device": device, "platform": platform.platform()}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        free, total = torch.cuda.mem_get_info()
        found.update(gpu=properties.name, gpu_bytes=total, gpu_free=free)
        try:
            asked = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.limit,mig.mode.current", "--format=csv,noheader"]
            found["nvidia_smi"] = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return found


def start(check, figures):
    """Whether the program runs at all, and sees the device: without that there is nothing to check."""
    part = Part(check, "start", 90)
    out = check.folder / "start"

    def first():
        version = part.sdviz("--version").out.strip()
        done = part.sdviz("trace", "--prompt", "a red apple", "--steps", "2", "--model", check.pocket, "--device", check.device,
                          "--no-report", "--out", out)
        record = json.loads((out / "run.json").read_text())
        return {"version": version, "process_seconds": done.seconds, "environment": record["environment"]}

    found = part.case("first run", first)
    figures.put("parts", "start", "what", "the program starts and sees the device")
    figures.put("parts", "start", "failed", part.failed)
    figures.put("parts", "start", "seconds", round(time.monotonic() - part.started, 1))
    return found["ok"] is True


def table(figures):
    """What a person reads."""
    parts = figures.all["parts"]
    print(f"\n{'part':10} {'held':>5} {'failed':>7} {'no time':>8} {'seconds':>8}")
    for name, part in parts.items():
        cases = list(part.get("cases", {}).values())
        count = {ok: sum(case["ok"] is ok for case in cases) for ok in (True, False, None)}
        print(f"{name:10} {count[True]:5} {count[False]:7} {count[None]:8} {part.get('seconds', 0):8.1f}")
    largest = [case["relative"] for case in parts.get("parity", {}).get("cases", {}).values() if "relative" in case]
    if largest:
        print(f"\nparity, f32: latents off by {max(largest):.1e} at most in {len(largest)} runs, allowed {parity.RUN:.0e}")
    worst = {}
    for name, case in parts.get("half", {}).get("cases", {}).items():
        if "psnr" in case:
            dtype = name.split("/")[0]
            worst[dtype] = min(worst.get(dtype, 99.0), case["psnr"])
    if worst:
        print("pictures beside diffusers' in f32, least PSNR: " + ", ".join(f"{k} {v:.1f} dB" for k, v in worst.items()))
    print_speed(parts.get("speed", {}))


def print_speed(part):
    rows = [(name, case) for name, case in part.get("cases", {}).items() if "sdviz" in case]
    if not rows:
        return
    print(f"\n{'seconds':10} {'sdviz':>10} {'diffusers':>10} {'ratio':>6}")
    for dtype, case in rows:
        for key in ("step", "decode"):
            mine, other = case["sdviz"][key], case.get("diffusers", {}).get(key)
            beside = f"{other:10.4f} {mine / other:6.2f}" if other else f"{'-':>10} {'-':>6}"
            print(f"{key + ', ' + dtype:10} {mine:10.4f} {beside}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu [default: cuda]")
    parser.add_argument("--quick", action="store_true", help="few cases and a narrow model in place of the full-size one")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time for everything, the parts' limits with it [default: 8]")
    parser.add_argument("--only", help="parts to run, with commas: " + ", ".join(name for name, *_ in PARTS))
    parser.add_argument("--program", help="the program to check")
    parser.add_argument("--out", default="gpu-check.json", help="the file of figures")
    parser.add_argument("--at-once", type=int, help="processes at once where they are not timed [default: 6, on a CPU 1]")
    parser.add_argument("--folder", help="keep the runs here [default: a temporary folder]")
    options = parser.parse_args()
    options.at_once = options.at_once or (1 if options.device == "cpu" else 6)
    only = options.only.split(",") if options.only else [name for name, *_ in PARTS]
    unknown = set(only) - {name for name, *_ in PARTS}
    if unknown:
        parser.error(f"no part `{unknown.pop()}`")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA device\nhint: `--device cpu --quick` runs the same checks on a CPU")

    figures = Figures(options.out)
    figures.put("machine", machine(options.device))
    figures.put("options", {key: value for key, value in vars(options).items() if value is not None})
    began, failed = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as temporary:
        folder = pathlib.Path(options.folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        check = Check(options, figures, folder)
        chosen = [part for part in PARTS if part[0] in only] if start(check, figures) else []
        failed += [] if chosen else ["start"]
        for name, seconds, work, what in chosen:
            part = Part(check, name, seconds * options.minutes / MINUTES)
            part.put("what", what)
            print(f"{name}: {what}", flush=True)
            guarded(part, work)
            part.put("seconds", round(time.monotonic() - part.started, 1))
            part.put("failed", part.failed)
            failed += [f"{name}/{case}" for case in part.failed]
    figures.put("seconds", round(time.monotonic() - began, 1))
    figures.put("failed", failed)
    table(figures)
    print(f"\n{time.monotonic() - began:.0f} s; {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}; figures in {options.out}")
    sys.exit(1 if failed else 0)


def guarded(part, work):
    """A part that breaks as a whole is a case that failed."""
    try:
        work(part)
    except Exception:  # noqa: BLE001: the other parts go on
        import traceback
        why = traceback.format_exc(limit=4)
        part.failed.append("the part itself")
        part.check.figures.put("parts", part.name, "cases", "the part itself", {"ok": False, "why": why, "seconds": 0})
        print(f"  {part.name}: {why.strip().splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    main()
