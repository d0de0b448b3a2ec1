#!/usr/bin/env python3
"""How fast OpenVINO runs a Stable Diffusion model, to set beside sdviz's own figures (`scripts/bench_peers.py` calls it).

UNet and decoder are diffusers' own, converted; steps and repeats are counted as in `scripts/bench_diffusers.py`. One JSON
object goes to stdout, seconds of `step` and `decode` and how far its noise prediction is from PyTorch's.

Needs: pip install openvino torch==2.13.0 diffusers==0.42.1
"""
import argparse
import json
import statistics
import sys
import time

import openvino
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

GUIDANCE = 7.5


class Forward(torch.nn.Module):
    """A module whose inputs are tensors alone, and so is its output."""

    def __init__(self, forward):
        super().__init__()
        self.own = forward

    def forward(self, *inputs):
        return self.own(*inputs)


def compiled(module, forward, example, options):
    wrapped = Forward(forward)
    wrapped.module = module
    with torch.no_grad():
        model = openvino.convert_model(wrapped, example_input=example, input=[tuple(t.shape) for t in example])
    settings = {"INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": options.dtype}
    return openvino.Core().compile_model(model, "CPU", settings)


def repeat(times, run):
    """Seconds of `times` runs after one that warms up; `run` returns by how many units its time is divided."""
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        units = run()
        seconds.append((time.perf_counter() - start) / units)
    return seconds[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag, usual in (("--steps", 5), ("--repeat", 1), ("--threads", 2), ("--width", 512), ("--height", 512)):
        parser.add_argument(flag, type=int, default=usual)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(options.model, subfolder="unet", torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(options.model, subfolder="vae", torch_dtype=torch.float32)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    latents = torch.randn(1, unet.config.in_channels, options.height // factor, options.width // factor)
    context = torch.randn(2, 77, unet.config.cross_attention_dim)
    both = torch.cat([latents] * 2)
    example = (both, torch.tensor(981), context)
    with torch.no_grad():
        expected = unet(*example, return_dict=False)[0]
    network = compiled(unet, lambda x, t, text: unet(x, t, text, return_dict=False)[0], example, options)
    found = torch.from_numpy(network([t.numpy() for t in example])[0])
    off = float((found - expected).abs().max() / expected.abs().max())
    scheduler = DDIMScheduler.from_pretrained(options.model, subfolder="scheduler")

    def steps():
        scheduler.set_timesteps(options.steps)
        x = latents
        for t in scheduler.timesteps:
            predicted = torch.from_numpy(network([torch.cat([x] * 2).numpy(), t.numpy(), context.numpy()])[0])
            uncond, text = predicted.chunk(2)
            x = scheduler.step(uncond + GUIDANCE * (text - uncond), t, x, return_dict=False)[0]
        return len(scheduler.timesteps)

    step = repeat(options.repeat, steps)
    del network
    decoder = compiled(vae, lambda z: vae.decode(z, return_dict=False)[0], (latents,), options)

    def decode():
        decoder([latents.numpy()])
        return 1

    decoded = repeat(options.repeat, decode)
    print(f"step {statistics.median(step):.3f} s, decode {statistics.median(decoded):.3f} s, off by {off:.1e}", file=sys.stderr)
    print(json.dumps({"tool": "openvino", "version": openvino.__version__, "step": step, "decode": decoded, "off": off}))


if __name__ == "__main__":
    main()
