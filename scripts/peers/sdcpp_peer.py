#!/usr/bin/env python3
"""How fast stable-diffusion.cpp runs a model, to set beside sdviz's own figures (`scripts/bench_peers.py` calls it).

It comes as a part of cyllama, and reads a model in one file (`sdviz convert FOLDER FILE.safetensors`) of Stable Diffusion's
own size. It holds the kernels of convolutions in half precision, as it always does. Seconds are those of its own log: of a
step the sampling's over the steps, and of the decode. One JSON object goes to stdout.

Needs: pip install cyllama
"""
import argparse
import json
import re
import sys

from cyllama import sd

TOOK = re.compile(r"(sampling|decode_first_stage) completed, taking ([0-9.]+)s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag, usual in (("--steps", 5), ("--repeat", 1), ("--threads", 2), ("--width", 512), ("--height", 512)):
        parser.add_argument(flag, type=int, default=usual)
    parser.add_argument("--file", required=True)
    options = parser.parse_args()
    took = {"sampling": [], "decode_first_stage": []}

    def listen(_, message):
        for name, seconds in TOOK.findall(message):
            took[name].append(float(seconds))

    sd.set_log_callback(listen)
    params = sd.SDContextParams(model_path=options.file)
    params.n_threads = options.threads
    # Usually the weights are gone after the first picture.
    params.free_params_immediately = False
    context = sd.SDContext(params)
    for _ in range(options.repeat + 1):
        context.generate("a red apple", width=options.width, height=options.height, seed=1024, sample_steps=options.steps,
                         cfg_scale=7.5, sample_method=sd.SampleMethod.EULER)
    # The first warms up.
    steps = [seconds / options.steps for seconds in took["sampling"][1:]]
    decodes = took["decode_first_stage"][1:]
    print(f"step {min(steps):.3f} s, decode {min(decodes):.3f} s", file=sys.stderr)
    print(json.dumps({"tool": "stable-diffusion.cpp", "step": steps, "decode": decodes}))


if __name__ == "__main__":
    main()
