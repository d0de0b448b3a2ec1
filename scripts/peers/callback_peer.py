#!/usr/bin/env python3
"""Looking inside as people do it today: diffusers' pipeline with a callback that decodes every step and saves the picture.

`scripts/bench_peers.py` sets it beside `sdviz trace`. The process is timed from outside; one JSON object on stdout has the
seconds of the pipeline's call alone.

Needs: pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
"""
import argparse
import json
import pathlib
import time

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    for flag, usual in (("--steps", 50), ("--threads", 2), ("--width", 512), ("--height", 512)):
        parser.add_argument(flag, type=int, default=usual)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = StableDiffusionPipeline.from_pretrained(options.model, dtype=torch.float32, safety_checker=None, local_files_only=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    options.out.mkdir(parents=True, exist_ok=True)

    def every_step(pipe, step, timestep, given):
        with torch.no_grad():
            image = pipe.vae.decode(given["latents"] / pipe.vae.config.scaling_factor, return_dict=False)[0]
        pipe.image_processor.postprocess(image)[0].save(options.out / f"{step + 1:03}.png")
        return given

    start = time.perf_counter()
    pipe("a red apple", num_inference_steps=options.steps, width=options.width, height=options.height, guidance_scale=7.5,
         generator=torch.Generator("cpu").manual_seed(1024), callback_on_step_end=every_step)
    print(json.dumps({"tool": "diffusers callback", "run": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
