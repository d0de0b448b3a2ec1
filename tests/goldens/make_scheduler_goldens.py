#!/usr/bin/env python3
"""Writes schedulers.safetensors: what diffusers' schedulers compute, without any model weights.

    pip install diffusers==0.42.1 torch==2.13.0 numpy scipy safetensors
    python tests/goldens/make_scheduler_goldens.py

Every case runs one scheduler over a smooth stand-in for the model on four numbers. The tensor of a case has ten columns:
row 0 holds init_noise_sigma, the last level, the starting latents (four) and four zeros; row 1 + i holds the timestep of
call i, its level (sigma, or the cumulated alpha where the class has no sigmas), the latents after it and the predicted
clean latents. The metadata's `cases` lists name, scheduler, config, steps, first call, eta and dtype as JSON.
"""

import json
import pathlib
import warnings

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
diffusers.logging.set_verbosity_error()

CLASSES = {
    "pndm": diffusers.PNDMScheduler,
    "ddim": diffusers.DDIMScheduler,
    "ddpm": diffusers.DDPMScheduler,
    "lms": diffusers.LMSDiscreteScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
    "dpmpp_2m_karras": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
}
SD1 = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def wave(scale, frequency, phase):
    return torch.tensor(scale * np.cos(frequency * np.arange(4) + phase), dtype=torch.float32).reshape(2, 2, 1, 1)


def model(x, t):
    return torch.sin(x * 1.5) * 0.7 + x * (t / 1000 * 0.3)


def run(case):
    cls, config = CLASSES[case["scheduler"]], dict(case["config"])
    if case["scheduler"].startswith("dpmpp_2m"):
        config["use_karras_sigmas"] = case["scheduler"] == "dpmpp_2m_karras"
    scheduler = cls.from_config(config)
    scheduler.set_timesteps(case["steps"])
    dtype, start = DTYPES[case["dtype"]], case["start"]
    sigmas = getattr(scheduler, "sigmas", None)
    timesteps = scheduler.timesteps[start:]
    noise = wave(1.2, 2.3, 5.0).to(dtype)
    # As diffusers' image-to-image pipelines do. Its text-to-image pipelines leave the index to be looked up by timestep,
    # which goes wrong where Karras' rounded timesteps begin with the same one twice.
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    if start > 0:
        sample = scheduler.add_noise(wave(1.5, 1.7, 0.3).to(dtype), noise, timesteps[:1])
    else:
        sample = noise * scheduler.init_noise_sigma
    last = float(sigmas[-1]) if sigmas is not None else -1.0
    rows = [[float(scheduler.init_noise_sigma), last] + sample.flatten().tolist() + [0.0] * 4]
    for i, t in enumerate(timesteps):
        call = start + i
        output = model(scheduler.scale_model_input(sample, t), float(t))
        fresh = wave(1.4, 2.3, 0.7 * call).to(dtype)
        draw = lambda *args, **kwargs: fresh
        diffusers.schedulers.scheduling_ddpm.randn_tensor = draw
        diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor = draw
        extra = {"eta": case["eta"], "variance_noise": fresh} if case["eta"] > 0 else {}
        result = scheduler.step(output, t, sample, **extra)
        if sigmas is None:
            level = float(scheduler.alphas_cumprod[t])
        else:
            level = float(sigmas[call])
        if case["scheduler"] == "pndm":
            a, v = scheduler.alphas_cumprod[t], scheduler.config.prediction_type == "v_prediction"
            clean = a**0.5 * sample - (1 - a) ** 0.5 * output if v else (sample - (1 - a) ** 0.5 * output) / a**0.5
        elif hasattr(scheduler, "model_outputs"):
            clean = scheduler.model_outputs[-1]
        else:
            clean = result.pred_original_sample
        sample = result.prev_sample
        assert sample.dtype == dtype and sample.isfinite().all(), case
        rows.append([float(t), level] + sample.flatten().tolist() + clean.flatten().tolist())
    return torch.tensor(rows, dtype=torch.float32)


def cases():
    def case(scheduler, label, steps, start=0, eta=0.0, dtype="f32", base=SD1, **config):
        name = f"{scheduler}/{label}/{steps}" + (f"/from-{start}" if start else "")
        config = {**base, **config}
        return dict(name=name, scheduler=scheduler, config=config, steps=steps, start=start, eta=eta, dtype=dtype)

    spacings = {"absent": {}, **{s: {"timestep_spacing": s} for s in ("leading", "linspace", "trailing")}}
    predictions = ("epsilon", "v_prediction")
    for scheduler in CLASSES:
        order = CLASSES[scheduler].order
        for spacing, chosen in spacings.items():
            for prediction in predictions:
                for steps in (1, 2, 5, 12, 30):
                    yield case(scheduler, f"{spacing}-{prediction}", steps, **chosen, prediction_type=prediction)
            yield case(scheduler, spacing, 12, start=5 * order, **chosen)
            yield case(scheduler, spacing, 30, start=20 * order, **chosen)
        yield case(scheduler, "v", 5, start=order, prediction_type="v_prediction")
        yield case(scheduler, "class-defaults", 10, base={})
        yield case(scheduler, "alpha-to-one", 12, set_alpha_to_one=True, beta_schedule="linear", beta_start=0.01)
        yield case(scheduler, "squaredcos", 12, beta_schedule="squaredcos_cap_v2")
        yield case(scheduler, "no-offset", 12, steps_offset=0, timestep_spacing="leading")
        yield case(scheduler, "1100-train", 12, num_train_timesteps=1100)
        betas = [round(0.01 + 0.01 * i, 2) for i in range(20)]
        yield case(scheduler, "trained-betas", 5, num_train_timesteps=20, trained_betas=betas)
        for dtype in ("f16", "bf16"):
            yield case(scheduler, dtype, 5, dtype=dtype)
            yield case(scheduler, f"{dtype}-v", 12, start=3 * order, dtype=dtype, prediction_type="v_prediction")

    prk = dict(skip_prk_steps=False)
    for spacing, chosen in spacings.items():
        for prediction in predictions:
            for steps in (4, 5, 12, 30):
                yield case("pndm", f"prk-{spacing}-{prediction}", steps, **prk, **chosen, prediction_type=prediction)
    yield case("ddim", "eta-half", 12, eta=0.5)
    yield case("ddim", "eta-half", 12, start=4, eta=0.5)
    yield case("ddim", "eta-one-v", 5, eta=1.0, prediction_type="v_prediction")
    for scheduler in ("ddim", "ddpm", "heun"):
        yield case(scheduler, "clip", 12, clip_sample=True, clip_sample_range=0.8)
    for variance in ("fixed_small", "fixed_small_log", "fixed_large"):
        yield case("ddpm", variance, 12, variance_type=variance)
    karras = dict(use_karras_sigmas=True)
    for scheduler in ("lms", "euler", "heun", "unipc", "dpmpp_2m_karras"):
        for prediction in predictions:
            for steps in (2, 5, 12, 30):
                yield case(scheduler, f"karras-{prediction}", steps, **karras, prediction_type=prediction)
        yield case(scheduler, "karras-limits", 12, **karras, sigma_min=0.1, sigma_max=10.0)
        yield case(scheduler, "karras-leading", 12, **karras, timestep_spacing="leading")
        yield case(scheduler, "karras-cos", 12, **karras, beta_schedule="squaredcos_cap_v2")
        yield case(scheduler, "karras", 12, start=5 * CLASSES[scheduler].order, **karras)
    least = dict(final_sigmas_type="sigma_min")
    for scheduler in ("euler", "dpmpp_2m", "dpmpp_2m_karras", "unipc"):
        for steps in (12, 30):
            yield case(scheduler, "sigma-min", steps, **least)
            yield case(scheduler, "sigma-min-lower-order", steps, **least, lower_order_final=False)
            yield case(scheduler, "sigma-min-euler-at-final", steps, **least, euler_at_final=True)
    for steps in (14, 15):
        yield case("dpmpp_2m", "sigma-min", steps, **least)
    yield case("unipc", "sigma-min-karras", 12, **least, **karras)
    for scheduler in ("dpmpp_2m", "dpmpp_2m_karras"):
        for solver in ("heun", "bh2"):
            yield case(scheduler, f"solver-{solver}", 12, solver_type=solver)
            yield case(scheduler, f"solver-{solver}", 20, solver_type=solver)
        for spacing, chosen in spacings.items():
            clipped = dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1)
            yield case(scheduler, f"lambda-clipped-{spacing}", 12, **clipped, **chosen)
    for order in (1, 3):
        yield case("unipc", f"order-{order}", 12, solver_order=order)
        yield case("unipc", f"order-{order}", 30, solver_order=order, prediction_type="v_prediction")
    # With a last sigma of zero diffusers' bh1 gives NaN.
    yield case("unipc", "bh1", 12, solver_type="bh1", **least)
    yield case("unipc", "bh1-order-3", 12, solver_type="bh1", solver_order=3, **least)
    yield case("unipc", "no-corrector", 12, disable_corrector=[0, 2, 5])


def write(listed, run, file):
    """Runs the cases and writes them with what they are."""
    names = [case["name"] for case in listed]
    assert len(set(names)) == len(names)
    tensors = {case["name"]: run(case) for case in listed}
    for case in listed:
        # What most cases share is written once.
        if case["config"].items() >= SD1.items():
            case["config"] = {k: v for k, v in case["config"].items() if k not in SD1}
            case["sd1"] = True
        for field, value in {"start": 0, "eta": 0.0, "dtype": "f32"}.items():
            if case[field] == value:
                del case[field]
    metadata = {"cases": json.dumps(listed, separators=(",", ":")), "sd1": json.dumps(SD1), "diffusers": diffusers.__version__}
    save_file(tensors, pathlib.Path(__file__).parent / file, metadata)
    print(f"{len(listed)} cases with diffusers {diffusers.__version__} and torch {torch.__version__}")


if __name__ == "__main__":
    write(list(cases()), run, "schedulers.safetensors")
