"""Reference values from Hugging Face diffusers for inversion: `DDIMInverseScheduler`, told the prompt alone.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors
    python make_inversion_goldens.py

Writes `inversion.safetensors` beside it. For each case, under CASE/:
  image         [height, width, 3] uint8, the picture
  latents/<k>   [1, 4, height/f, width/f], after step k; k = 0 is the mean of the picture's posterior, times the scaling factor
  x0/<k>        what step k predicts of the picture, for the last step
The metadata has the cases as JSON under "cases": model, prompt, steps, spacing, timesteps.
"""
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMInverseScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

HERE = Path(__file__).parent
CASES = {
    # tiny-sd predicts ε, tiny-sd2 v.
    "leading": {"model": "tiny-sd", "prompt": "a lovely cat", "steps": 6, "spacing": "leading", "size": (64, 64)},
    "trailing": {"model": "tiny-sd", "prompt": "a lovely cat", "steps": 6, "spacing": "trailing", "size": (64, 48)},
    "velocity": {"model": "tiny-sd2", "prompt": "a lovely cat", "steps": 5, "spacing": "leading", "size": (40, 32)},
}


def picture(width, height):
    """A disc on a slope, in whole numbers."""
    y, x = np.mgrid[:height, :width]
    inside = (x - width // 2) ** 2 + (y - height // 2) ** 2 < (height // 3) ** 2
    slope = np.stack([(x * 3) % 256, (y * 3) % 256, np.full_like(x, 128)], -1)
    return np.where(inside[..., None], np.array([220, 40, 30]), slope).astype(np.uint8)


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    out, cases = {}, {}
    for name, case in CASES.items():
        pipe = StableDiffusionPipeline.from_pretrained(HERE / case["model"], safety_checker=None)
        width, height = case["size"]
        image = picture(width, height)
        # As a keyword: what a configuration lacks is in its list of defaults, and those are not read from it.
        inverse = DDIMInverseScheduler.from_config(pipe.scheduler.config, timestep_spacing=case["spacing"])
        assert not inverse.config.clip_sample and inverse.config.steps_offset == 1
        inverse.set_timesteps(case["steps"])
        window = pipe.tokenizer.model_max_length
        ids = pipe.tokenizer(case["prompt"], padding="max_length", max_length=window, return_tensors="pt").input_ids
        text = pipe.text_encoder(ids)[0]
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 * 2 - 1
        x = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
        out[f"{name}/image"], out[f"{name}/latents/0"] = torch.from_numpy(image), x
        for k, t in enumerate(inverse.timesteps, 1):
            step = inverse.step(pipe.unet(x, t, encoder_hidden_states=text).sample, int(t), x)
            x = step.prev_sample
            out[f"{name}/latents/{k}"] = x
        out[f"{name}/x0/{case['steps']}"] = step.pred_original_sample
        cases[name] = {**case, "timesteps": [int(t) for t in inverse.timesteps]}
    save_file({k: v.contiguous() for k, v in out.items()}, HERE / "inversion.safetensors", {"cases": json.dumps(cases)})


if __name__ == "__main__":
    main()
