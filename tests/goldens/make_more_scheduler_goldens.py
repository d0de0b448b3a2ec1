#!/usr/bin/env python3
"""Writes more_schedulers.safetensors: the schedulers and the ways to place sigmas that make_scheduler_goldens.py has not.

    pip install diffusers==0.42.1 torch==2.13.0 numpy scipy safetensors
    python tests/goldens/make_more_scheduler_goldens.py

The layout is that of schedulers.safetensors. Three things diffusers does not have are computed here by their definitions:
ComfyUI's `normal`, `sgm_uniform` and `simple` sigmas (comfy/samplers.py), which are put into diffusers' schedulers; any
placed sigmas for Euler ancestral; and k-diffusion's `sample_dpmpp_2s_ancestral`. The noise of `DPMSolverSDEScheduler`
comes from a Brownian tree of torchsde; a sampler stands in for it that makes one path of two given increments.
The same numbers are printed with scipy's quantiles of Beta(0.6, 0.6), which src/scheduler/beta_quantile.rs tests.
"""

import math
import sys
import types

import diffusers
import numpy as np
import torch
from make_scheduler_goldens import CLASSES, DTYPES, SD1, model, wave, write
from scipy import stats

# Nothing of it is used: its tree of random numbers is replaced below.
sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
from diffusers.schedulers.scheduling_dpmsolver_sde import DPMSolverSDEScheduler  # noqa: E402

CLASSES = CLASSES | {
    "dpm2": diffusers.KDPM2DiscreteScheduler,
    "dpm2_a": diffusers.KDPM2AncestralDiscreteScheduler,
    "dpmpp_sde": DPMSolverSDEScheduler,
    "dpmpp_2m_sde": diffusers.DPMSolverMultistepScheduler,
    "deis": diffusers.DEISMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
    "tcd": diffusers.TCDScheduler,
    # For its noise levels: the steps are made here.
    "dpmpp_2s_a": diffusers.EulerDiscreteScheduler,
}
TWO_CALLS = ("dpm2", "dpm2_a", "dpmpp_sde", "dpmpp_2s_a")
SWITCHES = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}


def placed(scheduler, how, steps):
    """ComfyUI's sigmas without the last, and the training timesteps they belong to."""
    training = (((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5).double().numpy()
    last = len(training) - 1
    if how == "normal":
        t = np.linspace(last, 0, steps)
    elif how == "sgm_uniform":
        t = np.linspace(last, 0, steps + 1)[:-1]
    elif how == "simple":
        t = np.array([last - int(i * len(training) / steps) for i in range(steps)], dtype=float)
    return t, np.exp(np.interp(t, np.arange(len(training)), np.log(training)))


def put(scheduler, name, timesteps, sigmas, end):
    sigmas = torch.tensor(np.concatenate([sigmas, [end]]).astype(np.float32))
    timesteps = torch.tensor(timesteps)
    if name in ("dpmpp_2m", "dpmpp_2m_sde", "unipc", "deis"):
        timesteps = timesteps.round().to(torch.int64)
    else:
        timesteps = timesteps.to(torch.float32)
    if name == "heun":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])
    scheduler.sigmas, scheduler.timesteps = sigmas, timesteps


def made(case):
    """The scheduler of a case, at its steps."""
    name, config = case["scheduler"], dict(case["config"])
    how = config.pop("sigmas", None)
    if how in SWITCHES:
        config[SWITCHES[how]] = True
    if name == "dpmpp_2m_sde":
        config["algorithm_type"] = "sde-dpmsolver++"
    scheduler = CLASSES[name].from_config(config)
    scheduler.set_timesteps(case["steps"])
    if how and how not in SWITCHES:
        training = ((1 - scheduler.alphas_cumprod[0]) / scheduler.alphas_cumprod[0]) ** 0.5
        put(scheduler, name, *placed(scheduler, how, case["steps"]), float(training) if name == "deis" else 0.0)
    if how in SWITCHES and name == "euler_a":
        euler = diffusers.EulerDiscreteScheduler.from_config(config)
        euler.set_timesteps(case["steps"])
        put(scheduler, name, euler.timesteps.numpy(), euler.sigmas.numpy()[:-1], 0.0)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(case["start"])
    return scheduler


def ancestral(a, b):
    up = (b**2 * (a**2 - b**2) / a**2) ** 0.5
    return (b**2 - up**2) ** 0.5, up


class Single:
    """k-diffusion's sample_dpmpp_2s_ancestral, a call at a time."""

    order = 2

    def __init__(self, euler):
        self.config, self.init_noise_sigma = euler.config, euler.init_noise_sigma
        steps, log_sigmas = euler.sigmas, np.log(((1 - euler.alphas_cumprod) / euler.alphas_cumprod).double().numpy()) / 2
        self.steps, self.timesteps, self.sigmas = steps, [euler.timesteps[0]], [steps[0]]
        for i in range(len(steps) - 2):
            down, _ = ancestral(steps[i], steps[i + 1])
            middle = (-(-steps[i].log() + 0.5 * (-down.log() + steps[i].log()))).exp()
            t = float(euler._sigma_to_t(middle.double().numpy(), log_sigmas))
            self.timesteps += [torch.tensor(t, dtype=torch.float32), euler.timesteps[i + 1]]
            self.sigmas += [middle, steps[i + 1]]
        self.timesteps, self.sigmas = torch.stack(self.timesteps), torch.stack(self.sigmas + [steps[-1]])

    def scale_model_input(self, sample, call):
        return sample / (self.sigmas[call] ** 2 + 1) ** 0.5

    def step(self, output, call, sample, fresh):
        i, sigma = call // 2, self.sigmas[call]
        if self.config.prediction_type == "epsilon":
            denoised = sample - sigma * output
        else:
            denoised = output * (-sigma / (sigma**2 + 1) ** 0.5) + sample / (sigma**2 + 1)
        a, b = self.steps[i], self.steps[i + 1]
        down, up = ancestral(a, b)
        if down == 0:
            return sample + (sample - denoised) / a * (down - a), denoised
        t, t_next = -a.log(), -down.log()
        h = t_next - t
        s = t + 0.5 * h
        if call % 2 == 0:
            self.begun = sample
            return (-s).exp() / (-t).exp() * sample - (-h * 0.5).expm1() * denoised, denoised
        return (-t_next).exp() / (-t).exp() * self.begun - (-h).expm1() * denoised + fresh * up, denoised


def level(scheduler, name, call):
    if name == "dpm2" and call % 2:
        return float(scheduler.sigmas_interpol[call])
    if name == "dpm2_a" and call % 2:
        return float(scheduler.sigmas_interpol[call - 1])
    if name == "dpmpp_sde" and call % 2:
        return float((scheduler.sigmas[call - 1].log() / 2 + scheduler.sigmas[call].log() / 2).exp())
    if hasattr(scheduler, "sigmas"):
        return float(scheduler.sigmas[call])
    return float(scheduler.alphas_cumprod[scheduler.timesteps[call]])


def run(case):
    name, dtype, start = case["scheduler"], DTYPES[case["dtype"]], case["start"]
    scheduler = made(case)
    if name == "dpmpp_2s_a":
        scheduler = Single(scheduler)
    sigmas = getattr(scheduler, "sigmas", None)
    timesteps = scheduler.timesteps[start:]
    noise = wave(1.2, 2.3, 5.0).to(dtype)
    if start > 0 and name == "dpmpp_2s_a":
        sample = wave(1.5, 1.7, 0.3).to(dtype) + noise * scheduler.sigmas[start].to(dtype)
    elif start > 0:
        sample = scheduler.add_noise(wave(1.5, 1.7, 0.3).to(dtype), noise, timesteps[:1])
    else:
        sample = noise * scheduler.init_noise_sigma
    last = float(sigmas[-1]) if sigmas is not None else -1.0
    rows = [[float(scheduler.init_noise_sigma), last] + sample.flatten().tolist() + [0.0] * 4]
    begun = {}
    for i, t in enumerate(timesteps):
        call = start + i
        fresh = wave(1.4, 2.3, 0.7 * call).to(dtype)
        draw = lambda *args, **kwargs: fresh
        for module in ("ddpm", "euler_ancestral_discrete", "k_dpm_2_ancestral_discrete", "lcm", "tcd"):
            getattr(diffusers.schedulers, f"scheduling_{module}").randn_tensor = draw

        def path(a, b):
            if call % 2 == 0:
                begun["at"], begun["increment"] = b, fresh
                return fresh
            middle = begun["at"]
            return (begun["increment"] * (a - middle) ** 0.5 + fresh * (middle - b) ** 0.5) / (a - b) ** 0.5

        scheduler.noise_sampler = path
        at, told = level(scheduler, name, call), call if name == "dpmpp_2s_a" else t
        output = model(scheduler.scale_model_input(sample, told), float(t))
        if name == "dpmpp_2s_a":
            prev_sample, clean = scheduler.step(output, call, sample, fresh)
        else:
            extra = {"variance_noise": fresh} if name == "dpmpp_2m_sde" or case["eta"] > 0 and name == "ddim" else {}
            extra |= {"eta": case["eta"]} if name in ("ddim", "tcd") else {}
            result = scheduler.step(output, t, sample, **extra)
            prev_sample, clean = result.prev_sample, getattr(result, "pred_original_sample", None)
            if clean is None and name != "deis" and hasattr(scheduler, "model_outputs"):
                clean = scheduler.model_outputs[-1]
            elif clean is None:
                a = torch.tensor(1 / (at**2 + 1)) if name == "deis" else scheduler.alphas_cumprod[t]
                v = scheduler.config.prediction_type == "v_prediction"
                clean = a**0.5 * sample - (1 - a) ** 0.5 * output if v else (sample - (1 - a) ** 0.5 * output) / a**0.5
                if scheduler.config.get("clip_sample") and name == "lcm":
                    clean = clean.clamp(-scheduler.config.clip_sample_range, scheduler.config.clip_sample_range)
        sample = prev_sample
        assert sample.dtype == dtype and sample.isfinite().all(), case
        rows.append([float(t), at] + sample.flatten().tolist() + clean.flatten().tolist())
    return torch.tensor(rows, dtype=torch.float32)


def cases():
    def case(scheduler, label, steps, start=0, eta=0.0, dtype="f32", base=SD1, **config):
        name = f"{scheduler}-{label}-{steps}" + (f"-from-{start}" if start else "")
        return dict(
            name=name, scheduler=scheduler, config=base | config, steps=steps, start=start, eta=eta, dtype=dtype
        )

    v = dict(prediction_type="v_prediction")
    new = ("dpm2", "dpm2_a", "dpmpp_2s_a", "dpmpp_sde", "dpmpp_2m_sde", "deis")
    for scheduler in new:
        order = 2 if scheduler in TWO_CALLS else 1
        for spacing in ("linspace", "leading", "trailing"):
            for steps in (1, 2, 5, 20):
                yield case(scheduler, spacing, steps, timestep_spacing=spacing)
            yield case(scheduler, f"{spacing}-v", 12, timestep_spacing=spacing, **v)
            yield case(scheduler, spacing, 12, start=5 * order, timestep_spacing=spacing)
        yield case(scheduler, "cos", 12, beta_schedule="squaredcos_cap_v2")
        for dtype in ("f16", "bf16"):
            yield case(scheduler, dtype, 5, dtype=dtype)
        if scheduler != "dpmpp_2s_a":
            yield case(scheduler, "class-defaults", 10, base={})
    for scheduler in ("lms", "euler", "euler_a", "heun", "dpmpp_2m", "unipc", *new):
        for how in ("karras", "exponential", "beta", "normal", "sgm_uniform", "simple"):
            if how not in SWITCHES and scheduler in TWO_CALLS and scheduler != "dpmpp_2s_a":
                continue
            for steps in (2, 5, 20):
                if (scheduler, how) != ("dpmpp_2m", "karras"):
                    yield case(scheduler, f"sigmas-{how}", steps, sigmas=how)
        order = 2 if scheduler in TWO_CALLS or scheduler == "heun" else 1
        yield case(scheduler, "sigmas-exponential", 12, start=4 * order, sigmas="exponential", timestep_spacing="leading")
    for order in (1, 3):
        yield case("deis", f"order-{order}", 12, solver_order=order)
        yield case("deis", f"order-{order}", 20, solver_order=order, **v)
    yield case("deis", "order-3-unfinished", 12, solver_order=3, lower_order_final=False)
    for steps in (12, 20):
        yield case("dpmpp_2m_sde", "heun", steps, solver_type="heun")
        yield case("dpmpp_2m_sde", "sigma-min", steps, final_sigmas_type="sigma_min")
    for scheduler in ("lcm", "tcd"):
        for eta in (0.0, 0.3, 1.0) if scheduler == "tcd" else (0.0,):
            for steps in (1, 2, 4, 7, 50):
                yield case(scheduler, f"eta-{eta}", steps, eta=eta)
            yield case(scheduler, f"eta-{eta}-v", 4, eta=eta, **v)
            yield case(scheduler, f"eta-{eta}", 8, start=3, eta=eta)
        yield case(scheduler, "original-100", 8, original_inference_steps=100)
        yield case(scheduler, "class-defaults", 4, base={})
        yield case(scheduler, "f16", 4, dtype="f16")
    yield case("lcm", "clip", 4, clip_sample=True, clip_sample_range=0.8)
    yield case("lcm", "scaling-1", 4, timestep_scaling=0.01)
    zero = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", **v)
    for scheduler in ("ddim", "ddpm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm", "tcd"):
        for steps in (1, 4, 12):
            yield case(scheduler, "zero-snr", steps, **zero)
    # These constructors have no such fields; the converters find them in the configuration all the same.
    limits = dict(sigma_min=0.1, sigma_max=10.0)
    for scheduler in ("lms", "dpm2", "dpm2_a", "dpmpp_sde", "deis"):
        for how in ("karras", "exponential", "beta"):
            yield case(scheduler, f"limits-{how}", 12, sigmas=how, **limits)
    for steps in (1, 2, 4):
        # SD-Turbo's own.
        yield case("euler", "turbo", steps, timestep_spacing="trailing")


def main():
    write(list(cases()), run, "more_schedulers.safetensors")
    for p in (1e-6, 0.001, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9, 0.999, 1.0):
        print(f"        ({p!r}, {float(stats.beta.ppf(p, 0.6, 0.6))!r}),")
    assert math.isclose(stats.beta.ppf(0.5, 0.6, 0.6), 0.5)


if __name__ == "__main__":
    main()
