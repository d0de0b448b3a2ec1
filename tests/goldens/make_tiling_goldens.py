"""Reference values from Hugging Face diffusers for the autoencoder's tiled decoding.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors
    python make_tiling_goldens.py

Writes `tiling.safetensors` beside it: for latents of several sizes, drawn from fixed seeds, what the autoencoder of
`tiny-sd` decodes after `enable_tiling()`. Its tiles are 8×8 latents, 64×64 pixels, and two of them share a quarter.
  case/NAME/latents   [batch, 4, h, w], as the decoder gets them
  case/NAME/image     [batch, 3, 8h, 8w], about -1 to 1
"""
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

HERE = Path(__file__).parent
# Last tiles that lie wholly inside the ones before; one tile high; one latent more than a tile; two pictures.
CASES = {"inside": (1, 14, 13), "wide": (1, 8, 19), "odd": (1, 9, 10), "batch": (2, 10, 7)}


def main():
    torch.set_num_threads(2)
    vae = AutoencoderKL.from_pretrained(HERE / "tiny-sd", subfolder="vae").eval()
    tensors = {}
    with torch.no_grad():
        for seed, (name, (batch, h, w)) in enumerate(CASES.items()):
            z = torch.randn(batch, 4, h, w, generator=torch.Generator().manual_seed(seed))
            vae.disable_tiling()
            whole = vae.decode(z).sample
            vae.enable_tiling()
            image = vae.decode(z).sample
            tensors[f"case/{name}/latents"], tensors[f"case/{name}/image"] = z, image.contiguous()
            print(name, tuple(image.shape), "largest difference from the whole", (image - whole).abs().max().item())
    save_file(tensors, HERE / "tiling.safetensors")


if __name__ == "__main__":
    main()
