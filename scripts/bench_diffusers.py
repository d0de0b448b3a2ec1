#!/usr/bin/env python3
"""How fast diffusers runs a model, to set beside sdviz's own figures (`make bench`).

    python scripts/bench_diffusers.py --model assets/pocket --steps 20
    python scripts/bench_diffusers.py --model sd14-random --width 512 --height 512 --memory

diffusers is taken as it comes: its default attention (`AttnProcessor2_0`, PyTorch's fused attention), no compilation,
on the CPU, or on a GPU with `--device cuda`. One JSON object goes to stdout, talk to stderr. Times are seconds, each a list with one entry per repeat
(after one warm-up that is not counted) and its median:
  load          from_pretrained, files already in the page cache after the warm-up. f32 weights are mapped, not
                read: their pages come in during the first forward, which is a warm-up and not counted either
  text          tokenizer and text encoder, negative prompt and prompt in one batch
  step          one guided step: both noise predictions in one batch of 2 through the UNet, guidance, scheduler.
                A repeat is a whole loop of --steps; what is listed is its time over the number of UNet calls
  decode        latents to pixels in the VAE, one picture
`--memory` measures instead what a person does: load the model and call the pipeline once, in this process alone. It
lists bytes: the peak resident memory (`peak_resident`, the kernel's ru_maxrss), the peak of its anonymous part, sampled
every 20 ms (`peak_anonymous`; the rest is mapped files, mostly weights, which the kernel may drop when memory is
short), and both parts before the load, after it and at the end. Linux only.

Needs: pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors accelerate
"""
import argparse
import json
import os
import platform
import resource
import statistics
import sys
import threading
import time
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

import diffusers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
PROMPT = "a red apple"
GUIDANCE = 7.5
SEED = 1024


def say(text):
    print(text, file=sys.stderr, flush=True)


def load(arguments):
    pipe = StableDiffusionPipeline.from_pretrained(
        arguments.model, dtype=DTYPES[arguments.dtype], safety_checker=None, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.to(arguments.device)
    if arguments.channels_last:
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    return pipe


def repeat(what, times, run):
    """Seconds of `times` runs after one that warms up; `run` returns by how many units its time is divided."""
    seconds = []
    for number in range(times + 1):
        start = time.perf_counter()
        units = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a GPU has only been given the work
        taken = (time.perf_counter() - start) / units
        say(f"{what}: {taken:.4f} s" + (" (warm-up)" if number == 0 else ""))
        seconds.append(taken)
    return {"median": statistics.median(seconds[1:]), "all": seconds[1:]}


@torch.inference_mode()
def times(arguments):
    pipes = []

    def load_once():
        pipes.clear()  # never two models in memory
        pipes.append(load(arguments))
        return 1

    result = {"load": repeat("load", arguments.repeat, load_once)}
    pipe = pipes[0]
    encoded = []

    def text():
        prompt, negative = pipe.encode_prompt(PROMPT, arguments.device, 1, True, "")
        encoded[:] = [torch.cat([negative, prompt])]
        return 1

    result["text"] = repeat("text", arguments.repeat, text)
    height, width = size(pipe, arguments)
    shape = (1, pipe.unet.config.in_channels, height // pipe.vae_scale_factor, width // pipe.vae_scale_factor)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(arguments.device, DTYPES[arguments.dtype])

    def steps():
        pipe.scheduler.set_timesteps(arguments.steps)
        x = latents * pipe.scheduler.init_noise_sigma
        for t in pipe.scheduler.timesteps:
            both = pipe.scheduler.scale_model_input(torch.cat([x] * 2), t)
            uncond, cond = pipe.unet(both, t, encoder_hidden_states=encoded[0], return_dict=False)[0].chunk(2)
            x = pipe.scheduler.step(uncond + GUIDANCE * (cond - uncond), t, x, return_dict=False)[0]
        return len(pipe.scheduler.timesteps)

    def decode():
        pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)
        return 1

    result["step"] = repeat("step", arguments.repeat, steps)
    result["decode"] = repeat("decode", arguments.repeat, decode)
    result["unet_calls_per_loop"] = len(pipe.scheduler.timesteps)
    result["scheduler"] = type(pipe.scheduler).__name__
    result["attention"] = sorted({type(p).__name__ for p in pipe.unet.attn_processors.values()})
    result["width"], result["height"] = width, height
    if torch.cuda.is_available():
        result["peak_allocated"] = torch.cuda.max_memory_allocated()
    return result


def process_memory():
    """Resident memory of this process in bytes, and its anonymous and file-mapped parts (Linux only)."""
    with open("/proc/self/status") as file:
        lines = (line.split() for line in file)
        return {f[0].rstrip(":"): int(f[1]) * 1024 for f in lines if f[0] in ("VmRSS:", "RssAnon:", "RssFile:")}


def memory(arguments):
    before, anonymous, over = process_memory(), [], threading.Event()

    def sample():
        while not over.wait(0.02):
            anonymous.append(process_memory()["RssAnon"])

    sampler = threading.Thread(target=sample)
    sampler.start()
    start = time.perf_counter()
    pipe = load(arguments)
    loaded, loaded_memory = time.perf_counter(), process_memory()
    height, width = size(pipe, arguments)
    pipe(PROMPT, num_inference_steps=arguments.steps, height=height, width=width, guidance_scale=GUIDANCE,
         generator=torch.Generator("cpu").manual_seed(SEED))
    done = time.perf_counter()
    over.set()
    sampler.join()
    return {"peak_resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "peak_anonymous": max(anonymous), "before_load": before, "after_load": loaded_memory, "at_end": process_memory(),
            "load_seconds": loaded - start, "pipeline_seconds": done - loaded, "width": width, "height": height}


def size(pipe, arguments):
    own = pipe.unet.config.sample_size * pipe.vae_scale_factor
    return arguments.height or own, arguments.width or own


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a diffusers Stable Diffusion folder")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--width", type=int, help="pixels; default: the model's own")
    parser.add_argument("--height", type=int, help="pixels; default: the model's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--channels-last", action="store_true", help="keep UNet and VAE weights in channels-last order")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory of one plain pipeline call instead")
    arguments = parser.parse_args()
    if arguments.repeat < 1 or arguments.steps < 1:
        parser.error("--repeat and --steps are at least 1")
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    diffusers.logging.disable_progress_bar()
    result = memory(arguments) if arguments.memory else times(arguments)
    print(json.dumps({
        "tool": "diffusers", "versions": {"python": platform.python_version(), "torch": torch.__version__,
                                          "diffusers": diffusers.__version__, "transformers": transformers.__version__},
        "model": arguments.model, "dtype": arguments.dtype, "device": arguments.device, "threads": arguments.threads, "steps": arguments.steps,
        "channels_last": arguments.channels_last, **result}, indent=1))


if __name__ == "__main__":
    main()
