#!/usr/bin/env python3
"""Writes few_steps.safetensors: whole runs of tiny-sd2 in few steps, by diffusers' own pipeline.

    python tests/goldens/make_few_step_goldens.py

tiny-sd2 predicts v. `lcm` is the same network told the guidance scale: its config has `time_cond_proj_dim` 16, and the
projection, random numbers, is written here as `cond_proj`. `turbo` is the same network with the scheduler configuration of
SD-Turbo. The noise is that of `torch.Generator("cpu")`, drawn in the pipeline's order. Keys, f32:

  cond_proj              [8, 16] time_embedding.cond_proj.weight of `lcm`
  unet/sample            [2, 4, 8, 8], unet/timestep [2], unet/context [2, 16, 20]: what the network is asked
  unet/guidance-<scale>  [2, 4, 8, 8] what it predicts, told that guidance scale
  <run>/<k>              [1, 4, 8, 8] latents before step 1 (k = 0) and after call k of a run; `runs` in the metadata says which
"""

import json
import pathlib

import diffusers
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, GUIDANCES = 16, (1.0, 4.5, 8.5)
TURBO = {
    "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "interpolation_type": "linear", "num_train_timesteps": 1000, "prediction_type": "epsilon",
    "sample_max_value": 1.0, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "timestep_spacing": "trailing", "timestep_type": "discrete", "trained_betas": None, "use_karras_sigmas": False,
}
PROMPT, NEGATIVE, SEED = "a red cat", "blurry", 7
ZERO = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing")
RUNS = {
    "lcm": dict(model="lcm", scheduler="lcm", steps=4, guidance=8.5),
    "turbo-1": dict(model="turbo", scheduler="euler", steps=1, guidance=1.0),
    "turbo-4": dict(model="turbo", scheduler="euler", steps=4, guidance=1.0),
    "tcd": dict(model="plain", scheduler="tcd", steps=4, guidance=1.5, eta=0.3),
    "dpm2_a": dict(model="plain", scheduler="dpm2_a", steps=4, guidance=4.0),
    "dpmpp_2m_sde": dict(model="plain", scheduler="dpmpp_2m_sde", steps=4, guidance=4.0),
    "zero-snr": dict(model="plain", scheduler="ddim", steps=4, guidance=7.5, rescale=0.7, zero=True),
    "euler-exponential": dict(model="plain", scheduler="euler", steps=4, guidance=4.0, sigmas="exponential"),
}
CLASSES = {
    "lcm": (diffusers.LCMScheduler, {}),
    "tcd": (diffusers.TCDScheduler, {}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "ddim": (diffusers.DDIMScheduler, {}),
    "dpm2_a": (diffusers.KDPM2AncestralDiscreteScheduler, {}),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
}


def told_guidance(unet):
    """The same network with a projection of the guidance scale."""
    told = UNet2DConditionModel.from_config(dict(unet.config) | {"time_cond_proj_dim": WIDTH}).eval()
    weights = unet.state_dict()
    generator = torch.Generator().manual_seed(1)
    shape = told.time_embedding.cond_proj.weight.shape
    weights["time_embedding.cond_proj.weight"] = torch.randn(shape, generator=generator) * 0.5
    told.load_state_dict(weights)
    return told


def run(pipe, told, case):
    cls, more = CLASSES[case["scheduler"]]
    config = TURBO if case["model"] == "turbo" else dict(pipe.own)
    if case.get("zero"):
        more = more | ZERO
    if case.get("sigmas"):
        more = more | {f"use_{case['sigmas']}_sigmas": True}
    pipe.scheduler = cls.from_config(config, **more)
    pipe.unet = told if case["model"] == "lcm" else pipe.plain
    latents = []

    def keep(_, step, t, tensors):
        latents.append(tensors["latents"].clone())
        return tensors

    generator = torch.Generator("cpu").manual_seed(SEED)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator("cpu").manual_seed(SEED))
    size = 8 * pipe.vae_scale_factor
    pipe(
        PROMPT, negative_prompt=NEGATIVE, num_inference_steps=case["steps"], guidance_scale=case["guidance"], height=size,
        width=size, generator=generator, eta=case.get("eta", 0.0), guidance_rescale=case.get("rescale", 0.0),
        output_type="latent", callback_on_step_end=keep,
    )
    return [start * pipe.scheduler.init_noise_sigma, *latents]


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd2", safety_checker=None, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.plain, pipe.own = pipe.unet, dict(pipe.scheduler.config)
    told = told_guidance(pipe.unet)
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    context = torch.randn(2, 16, 20, generator=generator)
    timestep = torch.tensor([999.0, 259.0])
    out = {"cond_proj": told.time_embedding.cond_proj.weight, "unet/sample": sample, "unet/context": context}
    out["unet/timestep"] = timestep
    for scale in GUIDANCES:
        embedded = pipe.get_guidance_scale_embedding(torch.tensor([scale - 1.0] * 2), embedding_dim=WIDTH)
        out[f"unet/guidance-{scale}"] = told(sample, timestep, context, timestep_cond=embedded).sample
    for name, case in RUNS.items():
        for k, latents in enumerate(run(pipe, told, case)):
            out[f"{name}/{k:03d}"] = latents
    about = {"prompt": PROMPT, "negative": NEGATIVE, "seed": SEED, "runs": RUNS, "turbo": TURBO, "width": WIDTH}
    tensors = {key: value.detach().clone().contiguous() for key, value in out.items()}
    save_file(tensors, HERE / "few_steps.safetensors", {"about": json.dumps(about), "diffusers": diffusers.__version__})
    print(sorted(tensors))


if __name__ == "__main__":
    main()
