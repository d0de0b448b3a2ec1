"""Reference values for prompts: clip skip from diffusers itself, weights, chunks, schedules and AND by their formulas.

    python make_prompt_goldens.py

Writes prompts.safetensors, for tiny-sd. What the web UI's syntax means is written out here by hand, piece by piece with
its weight; only tokenizer, text encoder and UNet are the libraries'. Keys (f32 unless said otherwise):

  skip/<n>          [1, 77, hidden] diffusers' encode_prompt(clip_skip=n) of "a lovely cat"; AUTOMATIC1111's n + 1
  weighted          [1, 77, hidden] the pieces of WEIGHTED, times their weights, brought back to the mean
  chunked           [1, 154, hidden] LONG, cut behind a comma, each chunk encoded by itself
  chunked/ids       int64 [2, 77]
  run/latents/<k>   latents after step k of a run whose prompt changes after step 2 and has two parts, joined by AND
"""
import json, pathlib
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
WEIGHTED = ("a (red:1.3) apple, ((glossy)) [round], (dark:0.2)",
            [("a ", 1.0), ("red", 1.3), (" apple, ", 1.0), ("glossy", 1.1 * 1.1), (" ", 1.0), ("round", 1 / 1.1),
             (", ", 1.0), ("dark", 0.2)])
WORDS = "a lovely cat sits on the old stone wall and looks at birds"  # 13 words, one token each
LONG = ", ".join([WORDS] * 8)  # commas at places 13, 27, 41, 55, 69; 75 tokens fit, so the first chunk ends at place 69
RUN = dict(prompt="a [cat:dog:2] :0.7 AND (red:1.4) apple", negative="blurry", steps=5, guidance=6.0, seed=3)


def encode(pipe, pieces):
    """One chunk of (token ids, weight) pairs."""
    ids = [i for tokens, _ in pieces for i in tokens]
    weights = [w for tokens, w in pieces for _ in tokens]
    bos, eos = pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id
    ids = torch.tensor([[bos] + ids + [eos] * (76 - len(ids))])
    weights = torch.tensor([[1.0] + weights + [1.0] * (76 - len(weights))])
    z = pipe.text_encoder(ids)[0]
    if (weights == 1).all():
        return ids, z
    before = z.mean()
    z = z * weights.unsqueeze(-1)
    return ids, z * (before / z.mean())


def tokens(pipe, text):
    return pipe.tokenizer(text, add_special_tokens=False).input_ids


def of(pipe, pieces):
    return encode(pipe, [(tokens(pipe, text), weight) for text, weight in pieces])[1]


def chunked(pipe):
    ids = tokens(pipe, LONG)
    cut = 69 + 1
    assert ids[69] == tokens(pipe, "cat,")[-1] and len(ids) - cut <= 75
    (a, x), (b, y) = (encode(pipe, [(part, 1.0)]) for part in (ids[:cut], ids[cut:]))
    return torch.cat([a, b]), torch.cat([x, y], 1)


def run(pipe):
    """uncond + scale · Σ weight · (part − uncond), the first part "a cat" up to step 2 and then "a dog"."""
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(RUN["steps"])
    uncond, cat, dog = (of(pipe, [(text, 1.0)]) for text in (RUN["negative"], "a cat", "a dog"))
    apple = of(pipe, [(" ", 1.0), ("red", 1.4), (" apple", 1.0)])
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(RUN["seed"])) * scheduler.init_noise_sigma
    latents = [x]
    for k, t in enumerate(scheduler.timesteps, 1):
        predict = lambda text: pipe.unet(x, t, encoder_hidden_states=text).sample
        u = predict(uncond)
        away = 0.7 * (predict(cat if k <= 2 else dog) - u) + 1.0 * (predict(apple) - u)
        x = scheduler.step(u + RUN["guidance"] * away, t, x).prev_sample
        latents.append(x)
    return latents


@torch.no_grad()
def main():
    torch.set_num_threads(2)
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None, torch_dtype=torch.float32)
    # diffusers looks for the final layer norm where transformers 4 had it; 5 has it one level higher.
    object.__setattr__(pipe.text_encoder, "text_model", getattr(pipe.text_encoder, "text_model", pipe.text_encoder))
    out = {f"skip/{n}": pipe.encode_prompt("a lovely cat", "cpu", 1, False, clip_skip=n)[0] for n in (1, 2)}
    out["weighted"] = of(pipe, WEIGHTED[1])
    out["chunked/ids"], out["chunked"] = chunked(pipe)
    out |= {f"run/latents/{k:03d}": x for k, x in enumerate(run(pipe))}
    about = {"weighted": WEIGHTED[0], "long": LONG, "run": RUN}
    save_file({k: v.contiguous() for k, v in out.items()}, HERE / "prompts.safetensors", {"about": json.dumps(about)})


if __name__ == "__main__":
    main()
