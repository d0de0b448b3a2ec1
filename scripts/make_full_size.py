#!/usr/bin/env python3
"""Write a Stable Diffusion v1-4 of full size with random weights, to test and measure without a download.

    python scripts/make_full_size.py sd14-random
    python tests/goldens/make_goldens.py --model sd14-random --out sd14-random.safetensors --preset full-size --threads 2

The folder has the configuration of the published v1-4 (UNet 860 M, VAE 84 M and text encoder 123 M parameters, CLIP's
tokenizer, PNDM) and takes 4.3 GB as f32. Weights come from PyTorch's own initialisation with a fixed seed, so every
layer does the work it does in the real model and the activations stay finite, but the pictures are noise. Making it
takes about a minute and 5 GB of memory.

Needs: pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors accelerate
"""
import argparse
import json
import pathlib
import shutil
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

SEED = 1404
NEEDED_BYTES = 4_400_000_000
TINY = pathlib.Path(__file__).resolve().parent.parent / "tests/goldens/tiny-sd"  # tokenizer and scheduler as published

UNET = dict(
    act_fn="silu", attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280), center_input_sample=False,
    cross_attention_dim=768, down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), downsample_padding=1,
    flip_sin_to_cos=True, freq_shift=0, in_channels=4, layers_per_block=2, mid_block_scale_factor=1, norm_eps=1e-5,
    norm_num_groups=32, out_channels=4, sample_size=64, up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
VAE = dict(
    act_fn="silu", block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4, in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2,
    sample_size=512, scaling_factor=0.18215)
TEXT = dict(
    attention_dropout=0.0, bos_token_id=0, eos_token_id=2, pad_token_id=1, hidden_act="quick_gelu", hidden_size=768,
    initializer_factor=1.0, initializer_range=0.02, intermediate_size=3072, layer_norm_eps=1e-5,
    max_position_embeddings=77, num_attention_heads=12, num_hidden_layers=12, vocab_size=49408)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="where to write it; must not exist yet")
    folder = parser.parse_args().folder
    if folder.exists():
        sys.exit(f"error: `{folder}` exists already\nhint: name another folder, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < NEEDED_BYTES:
        sys.exit(f"error: `{folder.parent}` has {free / 1e9:.1f} GB free, and {NEEDED_BYTES / 1e9:.1f} GB are needed\n"
                 "hint: name a folder on another disk")

    parts = {
        "unet": lambda: UNet2DConditionModel(**UNET),
        "vae": lambda: AutoencoderKL(**VAE),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**TEXT)),
    }
    for seed, (name, make) in enumerate(parts.items(), SEED):  # one at a time: the UNet alone is 3.4 GB
        torch.manual_seed(seed)
        model = make()
        print(f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters", flush=True)
        model.save_pretrained(folder / name, safe_serialization=True)
        del model
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(TINY / name, folder / name, copy_function=shutil.copyfile)
    index = json.loads((TINY / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
