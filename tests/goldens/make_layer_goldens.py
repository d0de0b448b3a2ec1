"""Reference values from Hugging Face diffusers for what layers hold.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors
    python make_layer_goldens.py

Writes `layers.safetensors` beside it, from two DDIM steps of the pocket model ("a red apple on a blue background", seed 1,
guidance 5), read by forward hooks, for the row that is told the prompt:
  step1/SITE     the output of five modules at the first step, as diffusers shapes it, batch of 1
  step2/SITE     of one of them at the second step too (timestep 1: there the middle block moves by 3e-4 of its largest number
                 from one thread to two)
  pca/explained  numpy's SVD of the places of that one in both steps, 96 channels each, less their mean: the shares of the
                 variance that the first three components hold
  pca/scores     |coordinates| along them, [places of both steps, 3]
"""
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from safetensors.numpy import save_file

HERE = Path(__file__).parent
BOTH = "up_blocks.1.resnets.1"
SITES = [
    "down_blocks.0.resnets.0", "down_blocks.1.attentions.0.transformer_blocks.0.attn2", "mid_block", BOTH,
    "up_blocks.2.attentions.0.transformer_blocks.0.ff",
]


def main():
    torch.set_num_threads(2)
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "../../assets/pocket", safety_checker=None, torch_dtype=torch.float32)
    seen = {site: [] for site in SITES}
    for site in SITES:
        keep = lambda module, inputs, output, site=site: seen[site].append(output.detach()[1:2].numpy().copy())
        pipe.unet.get_submodule(site).register_forward_hook(keep)
    pipe("a red apple on a blue background", num_inference_steps=2, guidance_scale=5.0, output_type="latent",
         generator=torch.Generator().manual_seed(1))
    out = {f"step1/unet.{site}": np.ascontiguousarray(values[0]) for site, values in seen.items()}
    out[f"step2/unet.{BOTH}"] = seen[BOTH][1]
    rows = np.concatenate([v[0].reshape(v.shape[1], -1).T for v in seen[BOTH]]).astype(float)
    u, s, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    out["pca/explained"] = (s**2 / (s**2).sum())[:3]
    out["pca/scores"] = np.abs(u * s)[:, :3].copy()
    for name, value in out.items():
        print(name, value.shape, value.dtype)
    save_file(out, HERE / "layers.safetensors")


if __name__ == "__main__":
    main()
