"""Reference values from Hugging Face diffusers, for the parity tests.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors scipy accelerate
    python make_goldens.py --model tiny-sd --out tiny-sd.safetensors --threads 2
    python make_goldens.py --model tiny-sd2 --out tiny-sd2.safetensors --preset tiny-sd2 --threads 2
    python make_goldens.py --model ../../assets/pocket --out pocket.safetensors --preset pocket --threads 1
    python make_goldens.py --model tiny-sd --out img2img.safetensors --preset img2img --threads 2

`--model` may be any diffusers Stable Diffusion folder; it is loaded as f32 whatever its files hold. With `--build` or
`--build-sd2` the folder is written first, with random weights from a fixed seed:
  --build      a tiny Stable Diffusion 1.x: every block type of the real one, CLIP's real tokenizer (9 MB)
  --build-sd2  a tiny Stable Diffusion 2.x: linear projections, heads per block, v prediction, exact GELU, a VAE of
               factor 4, and sizes that differ wherever 1.x has the same one twice (under 1 MB)
`--old-names FOLDER` makes no reference values but writes a copy of `--model` under the tensor names of the published
v1 checkpoints, loads it, and checks that it computes the very same numbers (README.md lists the names).

Keys of the output (all f32 unless said otherwise; settings as JSON in the file's metadata under "cases"):
  tokens/<i>                     int64 [2, 77]  negative prompt, prompt
  text/<i>                       [2, 77, hidden] last hidden state after the final layer norm
  unet/sample, unet/timestep, unet/context, unet/out        one forward, batch 2, two different timesteps
  vae/image, vae/mean, vae/logvar, vae/latents, vae/decoded one round trip (no sampling)
  run/<case>/noise               starting noise: torch.manual_seed(seed) then randn on the CPU
  run/<case>/latents/<k>         latents after step k (k = 0 is the scaled starting latents)
  run/<case>/timesteps           as the scheduler calls the model
  run/<case>/image               [1, H, W, 3] in 0..1; where the case says "image": "u8", uint8 0..255 as diffusers
                                 saves it (times 255, rounded); where it says "none", left out
The preset `img2img` runs diffusers' own image-to-image and inpainting pipelines, from the picture to the picture, and has
  init                           uint8 [H, W, 3], a made-up picture
  mask                           uint8 [H, W], 255 where a case with "mask" repaints; in blocks of 8 pixels
  run/<case>/…                   as above, without the noise; latents/000 is the noised start
"""
import argparse, json, pathlib, shutil
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from diffusers import (AutoencoderKL, DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler,
                       EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler,
                       LMSDiscreteScheduler, PNDMScheduler, StableDiffusionImg2ImgPipeline,
                       StableDiffusionInpaintPipeline, StableDiffusionPipeline, UNet2DConditionModel,
                       UniPCMultistepScheduler)
from transformers import CLIPTextConfig, CLIPTextModel

HERE = pathlib.Path(__file__).resolve().parent
CLIP_TOKENIZER = HERE / "tiny-sd/tokenizer"
SMALL_TOKENIZER = HERE / "tiny-sd2/tokenizer"
SCHEDULERS = {
    "pndm": lambda c: PNDMScheduler.from_config(c),
    "ddim": lambda c: DDIMScheduler.from_config(c),
    "ddpm": lambda c: DDPMScheduler.from_config(c),
    "lms": lambda c: LMSDiscreteScheduler.from_config(c),
    "euler": lambda c: EulerDiscreteScheduler.from_config(c),
    "euler_a": lambda c: EulerAncestralDiscreteScheduler.from_config(c),
    "heun": lambda c: HeunDiscreteScheduler.from_config(c),
    "dpmpp_2m": lambda c: DPMSolverMultistepScheduler.from_config(c),
    "dpmpp_2m_karras": lambda c: DPMSolverMultistepScheduler.from_config(c, use_karras_sigmas=True),
    "unipc": lambda c: UniPCMultistepScheduler.from_config(c),
}


def case(name, scheduler, steps, hw, guidance=7.5, seed=1024, prompt=0, **more):
    return dict(name=name, scheduler=scheduler, steps=steps, guidance=guidance, seed=seed, prompt=prompt, hw=hw, **more)


def default_cases(side):
    cases = [case(f"{k}-{n}", k, n, [side, side]) for k in SCHEDULERS for n in (5, 12)]
    cases += [case("pndm-wide", "pndm", 4, [side, side + side // 2], 3.0, 7, 1),
              case("pndm-scale-1", "pndm", 4, [side, side], 1.0, 7, 2)]
    return cases + [case(f"img2img-{k}", k, 8, [side, side], prompt=1, strength=s)
                    for k, s in (("pndm", 0.75), ("ddim", 0.5), ("euler", 0.75))]


DEFAULT_PROMPTS = [("a photograph of an astronaut riding a horse", ""), ("a lovely cat", "Sunshine"),
                   ("A fantasy landscape, trending on artstation -- it's 2024!", "blurry " * 90)]
PRESETS = {  # [prompt, negative prompt] pairs, cases, side of the picture in the VAE round trip (and in img2img)
    "pocket": dict(
        prompts=[("a red apple", ""), ("a cat face on a blue background, glossy style", ""),
                 ("a penguin on a pink background", "blue background"), ("An unfamiliar zeppelin, 3 times!", "")],
        cases=[case("pndm-25", "pndm", 25, [128, 128], 5.0, image="u8")]
        # Not seed 1024: there UniPC's four steps amplify rounding so much that diffusers in f32 is 1.2e-4 from itself in f64.
        + [case(f"{k}-4", k, 4, [128, 128], 5.0, 1, 1, image="u8" if k in ("ddim", "euler") else "none")
           for k in SCHEDULERS]
        + [case("pndm-wide", "pndm", 4, [96, 160], 5.0, 7, 2, image="u8"),
           case("img2img-ddim", "ddim", 6, [64, 64], 5.0, prompt=3, strength=0.5, image="none")],
        side=64),
    "tiny-sd2": dict(
        prompts=[("a cat face on a blue background", ""), ("A red apple, flat style", "green")],
        cases=[case(f"{k}-5", k, 5, [32, 32]) for k in ("ddim", "euler", "dpmpp_2m", "unipc", "pndm")]
        + [case("ddim-wide", "ddim", 4, [32, 40], 3.0, 7, 1),  # latents 8x10: levels of 10, 5, 3, 2, and back
           case("img2img-ddim", "ddim", 8, [32, 32], prompt=1, strength=0.5)],
        side=32),
    "img2img": dict(
        prompts=[("a lovely cat", "Sunshine")],
        cases=[case(f"{k}-{s}", k, 8, [64, 64], strength=s, image="u8" if s == 0.5 else "none")
               for k in ("pndm", "ddim", "euler", "dpmpp_2m") for s in (0.25, 0.5, 0.75, 1.0)]
        + [case("heun-0.6", "heun", 8, [64, 64], strength=0.6, image="none"),
           case("euler_a-batch", "euler_a", 6, [64, 64], strength=0.7, batch=2, image="none"),
           case("ddim-eta", "ddim", 6, [64, 64], strength=0.7, eta=0.5, image="none")]
        + [case(f"{k}-mask", k, 8, [64, 64], strength=0.75, mask=True, image="none")
           for k in ("pndm", "ddim", "euler", "dpmpp_2m")]),
    "inpaint": dict(
        prompts=[("a lovely cat", "Sunshine")],
        cases=[case(f"{k}-1", k, 6, [64, 64], strength=1.0, mask=True, image="none")
               for k in ("pndm", "ddim", "euler", "dpmpp_2m", "heun", "euler_a")]
        + [case(f"{k}-0.8", k, 6, [64, 64], strength=0.8, mask=True, image="none") for k in ("euler_a", "ddpm")]
        + [case("ddim-eta-0.8", "ddim", 6, [64, 64], strength=0.8, eta=1.0, mask=True, image="none")]),
    "full-size": dict(
        prompts=[("a photograph of an astronaut riding a horse", "")],
        cases=[case("pndm-2", "pndm", 2, [512, 512])], side=128),
}


def build_sd1(folder):
    torch.manual_seed(1234)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(16, 32, 32, 32),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=24, attention_head_dim=4, norm_num_groups=8)
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=64, layers_per_block=2,
        block_out_channels=(8, 16, 16, 16), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=77, hidden_act="quick_gelu", layer_norm_eps=1e-5))
    # The fields of the published v1 file, which has no timestep_spacing and no prediction_type: each scheduler's own
    # defaults hold.
    write_folder(folder, CLIP_TOKENIZER, unet, vae, text, {
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.42.1", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
        "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None,
        "clip_sample": False})


def build_sd2(folder):
    torch.manual_seed(4321)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 12, 16, 20),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, use_linear_projection=True,
        cross_attention_dim=20, attention_head_dim=(2, 4, 4, 4), norm_num_groups=4)
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=32, layers_per_block=1,
        block_out_channels=(4, 8, 12), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=1025, bos_token_id=1023, eos_token_id=1024, hidden_size=20, intermediate_size=40,
        num_hidden_layers=2, num_attention_heads=5, max_position_embeddings=77, hidden_act="gelu", layer_norm_eps=1e-5,
        projection_dim=12))
    # The fields of the published v2 file.
    write_folder(folder, SMALL_TOKENIZER, unet, vae, text, {
        "_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False, "num_train_timesteps": 1000,
        "prediction_type": "v_prediction", "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
        "trained_betas": None})


def write_folder(folder, tokenizer, unet, vae, text, scheduler):
    for model in (unet, vae, text):  # random biases and norms too, so that a forgotten one shows
        for p in model.parameters():
            if p.dim() == 1:
                p.data += 0.1 * torch.randn_like(p)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    vae.save_pretrained(folder / "vae", safe_serialization=True)
    text.save_pretrained(folder / "text_encoder", safe_serialization=True)
    (folder / "tokenizer").mkdir(exist_ok=True)
    for f in ("vocab.json", "merges.txt", "tokenizer_config.json"):  # published checkpoints have no tokenizer.json
        (folder / "tokenizer" / f).write_bytes((tokenizer / f).read_bytes())
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler, indent=2) + "\n")
    (folder / "model_index.json").write_text(json.dumps({
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None],
        "image_encoder": [None, None], "requires_safety_checker": False, "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler["_class_name"]], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]}, indent=2) + "\n")


OLD_VAE_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_vae_name(name):
    head, found, tail = name.partition("mid_block.attentions.0.")
    part, dot, kind = tail.rpartition(".")
    return head + found + OLD_VAE_ATTENTION.get(part, part) + dot + kind


def check_old_names(model, folder):
    """Write `model` under the old tensor names to `folder`, load it, and require the same bits from both."""
    shutil.copytree(model, folder, copy_function=shutil.copyfile)
    text, vae = folder / "text_encoder/model.safetensors", folder / "vae/diffusion_pytorch_model.safetensors"
    tensors = {f"text_model.{k}": v for k, v in load_file(text).items()}
    places = tensors["text_model.embeddings.position_embedding.weight"].shape[0]
    tensors["text_model.embeddings.position_ids"] = torch.arange(places).unsqueeze(0)
    save_file(tensors, text, metadata={"format": "pt"})
    save_file({old_vae_name(k): v for k, v in load_file(vae).items()}, vae, metadata={"format": "pt"})
    results = []
    for place in (model, folder):
        pipe = StableDiffusionPipeline.from_pretrained(place, safety_checker=None, torch_dtype=torch.float32)
        with torch.no_grad():
            emb = encode(pipe, "a lovely cat", "Sunshine")[1]
            image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(99)) * 2 - 1
            mean = pipe.vae.encode(image).latent_dist.mean
            results.append((emb, mean, pipe.vae.decode(mean).sample))
    if not all(torch.equal(a, b) for a, b in zip(*results)):
        raise SystemExit(f"error: `{folder}` computes other numbers than `{model}`")
    print(f"`{folder}` has the old names and computes the same numbers")


def encode(pipe, prompt, negative):
    ids = pipe.tokenizer([negative, prompt], padding="max_length", max_length=77, truncation=True,
                         return_tensors="pt").input_ids
    return ids, pipe.text_encoder(ids)[0]


def run(pipe, make, text, steps, scale, seed, hw, init=None, strength=None):
    """The visible loop of the pipeline, one step at a time, with everything kept."""
    sch = make(pipe.scheduler.config)
    sch.set_timesteps(steps)
    f = factor(pipe)
    torch.manual_seed(seed)
    noise = torch.randn(1, 4, hw[0] // f, hw[1] // f)
    ts = sch.timesteps
    if init is None:
        x = noise * sch.init_noise_sigma
    else:
        start = max(steps - min(int(steps * strength), steps), 0)
        ts = ts[start * sch.order:]
        if hasattr(sch, "set_begin_index"):
            sch.set_begin_index(start * sch.order)
        x = sch.add_noise(init, noise, ts[:1])
    lat, used = [x], []
    for t in ts:
        xin = sch.scale_model_input(torch.cat([x] * 2), t)
        u, c = pipe.unet(xin, t, encoder_hidden_states=text).sample.chunk(2)
        x = sch.step(u + scale * (c - u), t, x).prev_sample
        lat.append(x)
        used.append(float(t))
    img = pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample
    img = (img / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float()
    return noise, lat, torch.tensor(used), img


def factor(pipe):
    """Pixels per latent, along one side."""
    return 2 ** (len(pipe.vae.config.block_out_channels) - 1)


def single_forwards(pipe, text, side):
    """One UNet forward at the model's own size, and one VAE round trip of a square picture of `side` pixels."""
    g = torch.Generator().manual_seed(99)
    size = pipe.unet.config.sample_size
    s, t = torch.randn(2, 4, size, size, generator=g), torch.tensor([981.0, 17.0])
    img = torch.rand(1, 3, side, side, generator=g) * 2 - 1
    post = pipe.vae.encode(img).latent_dist
    return {"unet/sample": s, "unet/timestep": t, "unet/context": text,
            "unet/out": pipe.unet(s, t, encoder_hidden_states=text).sample,
            "vae/image": img, "vae/mean": post.mean, "vae/logvar": post.logvar,
            "vae/latents": post.mean * pipe.vae.config.scaling_factor, "vae/decoded": pipe.vae.decode(post.mean).sample}


def made_up_picture(height, width):
    """A picture with slopes, an edge and some grain; and a mask in blocks of 8 pixels."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grain = torch.randint(0, 32, (height, width, 3), generator=torch.Generator().manual_seed(5))
    disc = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2) * 96
    picture = torch.stack([x * 2 + disc, y * 2, 128 - disc], -1) + grain
    mask = ((x // 8 + y // 16) % 3 == 0) * 255
    return picture.clamp(0, 255).to(torch.uint8), mask.to(torch.uint8)


def run_from_picture(pipe, c, prompt, negative, picture, mask):
    """One case with diffusers' own pipeline; the latents before the loop are taken from its `prepare_latents`."""
    kind = StableDiffusionInpaintPipeline if c.get("mask") else StableDiffusionImg2ImgPipeline
    parts = {k: v for k, v in pipe.components.items() if k in ("vae", "text_encoder", "tokenizer", "unet")}
    pipe = kind(**parts, scheduler=SCHEDULERS[c["scheduler"]](pipe.scheduler.config), safety_checker=None,
                feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    latents, used = [], []
    prepare = pipe.prepare_latents

    def watched(*arguments, **named):
        result = prepare(*arguments, **named)
        latents.append((result[0] if isinstance(result, tuple) else result).clone())
        return result

    def after_step(_, step, timestep, tensors):
        latents.append(tensors["latents"].clone())
        used.append(float(timestep))
        return {}

    pipe.prepare_latents = watched
    batch = c.get("batch", 1)
    generators = [torch.Generator().manual_seed(c["seed"] + i) for i in range(batch)]
    more = dict(mask_image=Image.fromarray(mask.numpy()), height=c["hw"][0], width=c["hw"][1]) if c.get("mask") else {}
    images = pipe(prompt, negative_prompt=negative, image=Image.fromarray(picture.numpy()), strength=c["strength"],
                  num_inference_steps=c["steps"], guidance_scale=c["guidance"], eta=c.get("eta", 0.0),
                  num_images_per_prompt=batch, generator=generators if batch > 1 else generators[0],
                  callback_on_step_end=after_step, output_type="pt", **more).images
    return latents, torch.tensor(used), images[:1].permute(0, 2, 3, 1).float()


def img2img_goldens(pipe, prompts, cases):
    picture, mask = made_up_picture(*cases[0]["hw"])
    out = {"init": picture, "mask": mask}
    for c in cases:
        lat, ts, im = run_from_picture(pipe, c, *prompts[c["prompt"]], picture, mask)
        key = f"run/{c['name']}"
        out |= {f"{key}/timesteps": ts} | {f"{key}/latents/{k:03d}": x for k, x in enumerate(lat)}
        if c.get("image") != "none":
            out[f"{key}/image"] = (im * 255).round().to(torch.uint8)
        print(f"{c['name']:24s} {len(lat) - 1:3d} calls  |latents| {lat[-1].abs().mean():.5f}", flush=True)
    return out


@torch.no_grad()
def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True, type=pathlib.Path)
    ap.add_argument("--build", action="store_true", help="write the tiny 1.x to --model first")
    ap.add_argument("--build-sd2", action="store_true", help="write the tiny 2.x to --model first")
    ap.add_argument("--out")
    ap.add_argument("--preset", choices=PRESETS, help="prompts and cases made for one model; default: every scheduler")
    ap.add_argument("--cases", help="JSON list of cases, instead of the preset's")
    ap.add_argument("--prompts", help="JSON list of [prompt, negative prompt] pairs, instead of the preset's")
    ap.add_argument("--threads", type=int, help="default: PyTorch's")
    ap.add_argument("--old-names", type=pathlib.Path, metavar="FOLDER", help="check the old tensor names, nothing else")
    a = ap.parse_args()
    if not a.out and not a.old_names:
        ap.error("--out is needed")
    if a.threads:
        torch.set_num_threads(a.threads)
    if a.build or a.build_sd2:
        (build_sd2 if a.build_sd2 else build_sd1)(a.model)
    if a.old_names:
        return check_old_names(a.model, a.old_names)
    pipe = StableDiffusionPipeline.from_pretrained(a.model, safety_checker=None, torch_dtype=torch.float32)
    hw = pipe.unet.config.sample_size * factor(pipe)
    preset = PRESETS[a.preset] if a.preset else dict(prompts=DEFAULT_PROMPTS, cases=default_cases(hw), side=hw)
    prompts = json.load(open(a.prompts)) if a.prompts else preset["prompts"]
    cases = json.load(open(a.cases)) if a.cases else preset["cases"]
    if a.preset in ("img2img", "inpaint"):
        out = img2img_goldens(pipe, prompts, cases)
        return write(out, cases, prompts, a)
    out, texts = {}, []
    for i, (p, n) in enumerate(prompts):
        out[f"tokens/{i}"], out[f"text/{i}"] = encode(pipe, p, n)
        texts.append(out[f"text/{i}"])
    out |= single_forwards(pipe, texts[0], preset["side"])
    for c in cases:
        init = out["vae/latents"] if "strength" in c else None
        noise, lat, ts, im = run(pipe, SCHEDULERS[c["scheduler"]], texts[c["prompt"]], c["steps"], c["guidance"],
                                 c["seed"], c["hw"], init, c.get("strength"))
        key = f"run/{c['name']}"
        out |= {f"{key}/noise": noise, f"{key}/timesteps": ts}
        out |= {f"{key}/latents/{k:03d}": x for k, x in enumerate(lat)}
        if c.get("image") != "none":
            out[f"{key}/image"] = (im * 255).round().to(torch.uint8) if c.get("image") == "u8" else im
        print(f"{c['name']:24s} {len(lat) - 1:3d} calls  |latents| {lat[-1].abs().mean():.5f}", flush=True)
    write(out, cases, prompts, a)


def write(out, cases, prompts, a):
    meta = {"cases": json.dumps(cases), "prompts": json.dumps(prompts), "model": a.model.name}
    save_file({k: v.contiguous().clone() for k, v in out.items()}, a.out, metadata=meta)


if __name__ == "__main__":
    main()
