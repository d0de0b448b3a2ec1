#!/usr/bin/env python3
"""sdviz beside what else runs Stable Diffusion on a processor: the same weights, size, steps and threads, taken in turn.

    python scripts/bench_peers.py [--model FOLDER] [--steps N] [--width N --height N] [--rounds N] [--peers LIST]
    make bench-peers BENCH_PYTHON=venv/bin/python BENCH="--model FOLDER --steps 3"

A step is both noise predictions of a guided one, guidance and scheduler; a decode is one picture. `callback` is the way in
that people take today, diffusers with a callback that decodes every step, beside `sdviz trace`: processes from start to end.

Ratios are what to read. Needs a Python with torch and diffusers (tests/goldens/README.md); OpenVINO `pip install openvino`,
stable-diffusion.cpp `pip install cyllama`; candle is built by cargo. Those two run models of Stable Diffusion's own size alone.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from bench import OURS, ROOT, THEIRS, measure, output

PEERS = ROOT / "scripts/peers"
SDVIZ = ROOT / "target/debug/sdviz"
CANDLE = ROOT / "target/peers/release/bench-candle"
ALL = ["openvino", "sd.cpp", "candle", "callback"]
# stable-diffusion.cpp tells models by their sizes, and candle has 32 groups in some norms whatever the configuration says.
OWN_SIZE = ["sd.cpp", "candle"]


class Bench:
    """What is measured, and with what."""

    def __init__(self, options, work):
        self.options, self.work = options, work
        model = pathlib.Path(options.model)
        unet = json.loads((model / "unet/config.json").read_text())
        vae = json.loads((model / "vae/config.json").read_text())
        self.factor = 2 ** (len(vae["block_out_channels"]) - 1)
        own = unet["sample_size"] * self.factor
        self.width, self.height = options.width or own, options.height or own
        self.own_size = unet["block_out_channels"][0] == 320
        self.threads = str(options.threads)
        self.sizes = ["--width", self.width, "--height", self.height]
        self.numbers = ["--steps", options.steps, "--threads", options.threads]
        self.shared = ["--model", options.model, *self.numbers]

    def sdviz(self):
        return measure([OURS, *self.shared, *self.sizes, "--dtype", "f32", "--repeat", "1"])

    def diffusers(self):
        found = measure([*THEIRS, *self.shared, *self.sizes, "--repeat", "1"])
        return {key: found[key]["all"] for key in ("step", "decode")}

    def openvino(self):
        return measure([sys.executable, PEERS / "openvino_peer.py", *self.shared, *self.sizes])

    def candle(self):
        command = [CANDLE, self.options.model, self.options.steps, "1", self.height // self.factor, self.width // self.factor]
        return measure(command, {"RAYON_NUM_THREADS": self.threads})

    def sd_cpp(self):
        file = self.work / "model.safetensors"
        if not file.exists():
            subprocess.run([SDVIZ, "-q", "convert", self.options.model, file], check=True)
        command = [sys.executable, PEERS / "sdcpp_peer.py", "--file", file, *self.numbers, *self.sizes]
        return measure(command)

    def traced(self):
        """Seconds of `sdviz trace` and of the callback, whole processes that leave a picture of every step."""
        out = self.work / "run"
        shutil.rmtree(out, ignore_errors=True)
        command = [SDVIZ, "-q", "trace", "--prompt", "a red apple", "--model", self.options.model, "--steps", self.options.steps,
                   *self.sizes, "--scheduler", "ddim", "-g", "7.5", "-s", "1024", "--record", "latents,x0", "--decode-what", "latents",
                   "--no-report", "--out", out]
        environment = {"OMP_NUM_THREADS": self.threads}
        ours = timed(command, environment)
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, PEERS / "callback_peer.py", *self.shared, *self.sizes, "--out", out]
        return {"trace": [ours], "callback": [timed(command, environment)]}


def timed(command, environment):
    start = time.perf_counter()
    output(command, environment)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "assets/pocket"), help="a diffusers folder [default: the pocket model]")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="how often all take turns")
    parser.add_argument("--peers", default=",".join(ALL), help=f"some of {','.join(ALL)} [default: all that can run the model]")
    parser.add_argument("--json", type=pathlib.Path, help="write all seconds to this file, too")
    options = parser.parse_args()
    peers = options.peers.split(",")
    if unknown := [peer for peer in peers if peer not in ALL]:
        sys.exit(f"no peer `{unknown[0]}`; there are {', '.join(ALL)}")
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as work:
        bench = Bench(options, pathlib.Path(work))
        if left_out := [peer for peer in peers if peer in OWN_SIZE and not bench.own_size]:
            print(f"left out: {', '.join(left_out)} run models of Stable Diffusion's own size alone", file=sys.stderr)
            peers = [peer for peer in peers if peer not in left_out]
        if "candle" in peers:
            subprocess.run(["cargo", "build", "--release", "--quiet", "--manifest-path", PEERS / "candle/Cargo.toml",
                            "--target-dir", ROOT / "target/peers"], check=True)
        runs = {"sdviz": bench.sdviz, "diffusers": bench.diffusers, "openvino": bench.openvino, "sd.cpp": bench.sd_cpp,
                "candle": bench.candle}
        found = {name: {} for name in ["diffusers", "sdviz", *(peer for peer in peers if peer != "callback")]}
        whole = {}
        for number in range(options.rounds):
            for name in found:
                add(found[name], runs[name](), ("step", "decode"))
            if "callback" in peers:
                add(whole, bench.traced(), ("trace", "callback"))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    show(found, whole, bench)
    if options.json:
        options.json.write_text(json.dumps({**found, "whole": whole}, indent=1) + "\n")


def add(found, seconds, keys):
    for key in keys:
        found.setdefault(key, []).extend(seconds[key])


def show(found, whole, bench):
    """Each one's best, and the median of its ratios to diffusers, round by round."""
    print(f"{bench.options.model}, {bench.width}×{bench.height}, f32, {bench.threads} threads, {bench.options.rounds} rounds")
    print(f"{'':12} {'step':>9} {'of diffusers':>13} {'decode':>9} {'of diffusers':>13}")
    for name, seconds in found.items():
        cells = [f"{min(seconds[key]):7.3f} s {ratio(seconds[key], found['diffusers'][key]):13.2f}" for key in ("step", "decode")]
        print(f"{name:12} {' '.join(cells)}")
    if whole:
        print(f"{bench.options.steps} steps, every one decoded, from start to end: callback {min(whole['callback']):.2f} s, "
              f"sdviz trace {min(whole['trace']):.2f} s, {ratio(whole['trace'], whole['callback']):.2f} of it")


def ratio(ours, theirs):
    return statistics.median(a / b for a, b in zip(ours, theirs))


if __name__ == "__main__":
    main()
