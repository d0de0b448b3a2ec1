#!/usr/bin/env python3
"""sdviz beside diffusers: the same weights, work, threads and machine, the two taken in turn. `make bench` calls it.

    python scripts/bench.py [--model FOLDER] [--dtype f32|bf16] [--steps N] [--width N --height N] [--rounds N] [--memory]

Ratios are what to read: seconds depend on the machine and on what else it is doing. `recorded / step` is what recording
latents and predicted originals costs beside the same loop with no observer.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ROOT / "target/debug/examples/bench"
THEIRS = [sys.executable, str(ROOT / "scripts/bench_diffusers.py")]


def output(command, environment=None):
    """What a command prints; one that fails ends this program. `environment` is added to this one's."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def measure(command, environment=None):
    """The JSON object that a command prints last, behind what some print of their progress."""
    text = "\n" + output(command, environment)
    return json.loads(text[text.rindex("\n{"):])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "assets/pocket"))
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--steps", default="20")
    parser.add_argument("--width")
    parser.add_argument("--height")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--repeat", default="1", help="counted runs within a round")
    parser.add_argument("--rounds", type=int, default=3, help="how often the two take turns")
    parser.add_argument("--memory", action="store_true", help="peak memory of one run in place of times")
    options = parser.parse_args()
    shared = ["--model", options.model, "--dtype", options.dtype, "--steps", options.steps, "--threads", options.threads,
              "--repeat", options.repeat]
    for flag, value in (("--width", options.width), ("--height", options.height)):
        shared += [flag, value] if value else []
    if options.memory:
        theirs, ours = measure([*THEIRS, *shared, "--memory"]), measure([OURS, *shared, "--memory"])
        gib = 2**30
        print(f"peak resident memory: diffusers {theirs['peak_resident'] / gib:.2f} GiB, "
              f"sdviz {ours['peak_resident'] / gib:.2f} GiB, ratio {ours['peak_resident'] / theirs['peak_resident']:.2f}")
        return
    theirs, ours = {}, {}
    for _ in range(options.rounds):
        for found, seconds in ((theirs, measure([*THEIRS, *shared])), (ours, measure([OURS, *shared]))):
            for key, value in seconds.items():
                if isinstance(value, dict) and "all" in value:
                    value = value["all"]
                if isinstance(value, list) and value and isinstance(value[0], float):
                    found.setdefault(key, []).extend(value)
    print(f"{options.model}, {options.dtype}, {options.threads} threads, "
          f"best of {len(ours['step'])} (sdviz) and {len(theirs['step'])} (diffusers)")
    print(f"{'':10} {'diffusers':>11} {'sdviz':>11} {'ratio':>7}")
    for key in ("load", "text", "step", "decode"):
        a, b = min(theirs[key]), min(ours[key])
        print(f"{key:10} {a:9.4f} s {b:9.4f} s {b / a:7.2f}")
    pairs = [b / a for a, b in zip(ours["step"], ours["recorded"])]
    print(f"recorded / step: median {statistics.median(pairs):.3f} of {len(pairs)}, from {min(pairs):.3f} to {max(pairs):.3f}")


if __name__ == "__main__":
    main()
