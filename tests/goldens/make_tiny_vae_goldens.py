"""Reference values from Hugging Face diffusers for the tiny autoencoder (AutoencoderTiny, TAESD).

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors pillow
    python make_tiny_vae_goldens.py

Writes `tiny-vae/`, an AutoencoderTiny with random weights and small widths, and `tiny-vae.safetensors` beside it:
  picture                     [1, 48, 64, 3], uint8
  encoded                     [1, 4, 6, 8], what the encoder makes of it
  latents, image              [2, 4, 6, 8], beyond the clamp's ±3, and [2, 3, 48, 64], about -1 to 1
  run/NAME/latents            [calls, 1, 4, 6, 8], the latents after each call of `tiny-sd` with it: from the picture, with
                              and without a mask, and with a stochastic scheduler. Nothing is drawn for the posterior.
"""
from pathlib import Path

import torch
from diffusers import (AutoencoderTiny, DDIMScheduler, DDPMScheduler, StableDiffusionImg2ImgPipeline,
                       StableDiffusionInpaintPipeline, StableDiffusionPipeline)
from PIL import Image
from safetensors.torch import save_file

HERE = Path(__file__).parent
CONFIG = dict(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
              num_encoder_blocks=(1, 1, 2, 1), num_decoder_blocks=(2, 1, 1, 0), latent_channels=4)
HEIGHT, WIDTH = 48, 64
RUNS = {"ddim": (DDIMScheduler, False), "ddpm": (DDPMScheduler, False), "masked": (DDPMScheduler, True)}


def main():
    torch.set_num_threads(2)
    torch.manual_seed(5)
    vae = AutoencoderTiny(**CONFIG).eval()
    with torch.no_grad():
        for name, weight in vae.named_parameters():
            weight.mul_(2.5 if name.endswith("weight") else 1.0)
    vae.save_pretrained(HERE / "tiny-vae")
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    picture = torch.stack([x * 4, y * 5, (x + y) * 2], -1).to(torch.uint8)
    latents = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(1)) * 3
    tensors = {"picture": picture[None].contiguous(), "latents": latents}
    with torch.no_grad():
        unit = picture.permute(2, 0, 1)[None].float() / 255 * 2 - 1
        tensors["encoded"], tensors["image"] = vae.encode(unit).latents, vae.decode(latents).sample
        print("encoded", tensors["encoded"].std().item(), "image", tensors["image"].std().item())
        parts = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None).components
        for name, (scheduler, masked) in RUNS.items():
            kind = StableDiffusionInpaintPipeline if masked else StableDiffusionImg2ImgPipeline
            pipe = kind(vae=vae, text_encoder=parts["text_encoder"], tokenizer=parts["tokenizer"], unet=parts["unet"],
                        scheduler=scheduler.from_config(parts["scheduler"].config), safety_checker=None,
                        feature_extractor=None, requires_safety_checker=False)
            pipe.set_progress_bar_config(disable=True)
            steps = []
            mask = Image.fromarray(((x < 32) * 255).to(torch.uint8).numpy())
            more = dict(mask_image=mask, height=HEIGHT, width=WIDTH) if masked else {}
            pipe("a lovely cat", image=Image.fromarray(picture.numpy()), strength=0.75, num_inference_steps=8,
                 guidance_scale=7.5, generator=torch.Generator().manual_seed(3), output_type="latent",
                 callback_on_step_end=lambda *a: steps.append(a[-1]["latents"].clone()) or {}, **more)
            tensors[f"run/{name}/latents"] = torch.stack(steps)
            print(name, len(steps), steps[-1].std().item())
    save_file({k: v.contiguous() for k, v in tensors.items()}, HERE / "tiny-vae.safetensors")


if __name__ == "__main__":
    main()
