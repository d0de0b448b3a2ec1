"""What each word of a prompt causes in one prediction of diffusers' UNet, for the tests of attribution.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors scipy accelerate
    python make_attribution_goldens.py

One prediction of `tiny-sd` at timestep 601, of random latents of 8x12. A word is dropped in two ways: its rows of the text
embedding become those of the empty prompt at the same places (`rows`), or the prompt is encoded again without its tokens
(`retokenise`). The gradient is autograd's. Settings are JSON in the metadata under "case".

Keys of attribution.safetensors, all f32:
  sample              [1, 4, 8, 12]
  rows/drop           [4, 8, 12]     sqrt of the sum over the channels of (prediction - prediction without the word)^2
  rows/norm           [4]            the same over all places too
  retokenise/drop     [3, 8, 12]     of the words that are words
  retokenise/norm     [3]
  whole, whole_norm   [8, 12], [1]   with the empty prompt
  text_norm           [1]            of the prediction itself
  gradient            [77]           || ds/de * e || of each place, s = sum of (prediction - prediction with the negative prompt)^2
  gradient/area       [77]           the same with s over an area only
  score, score/area   [1]            s
"""
import json, pathlib
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
CASE = dict(prompt="a red cat, 2024 cats and a cat", negative="blurry", words=["red", "cat", "2024", "<padding>"],
            timestep=601, seed=99, area=[0.25, 0.0, 0.75, 0.5])


def encode(pipe, ids):
    end = pipe.tokenizer.eos_token_id
    ids = [pipe.tokenizer.bos_token_id, *ids, end]
    return pipe.text_encoder(torch.tensor([ids + [end] * (77 - len(ids))]))[0]


def tokens(pipe, text):
    return pipe.tokenizer(text, add_special_tokens=False).input_ids


def places(pipe, ids, word):
    """Where a word's tokens stand among the prompt's, counted from 0 for the first behind the start."""
    if word == "<padding>":
        return list(range(len(ids) + 1, 76))
    own = tokens(pipe, word)
    starts = [i for i in range(len(ids)) if ids[i:i + len(own)] == own]
    return [i + k for i in starts for k in range(len(own))]


def main():
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None, torch_dtype=torch.float32)
    x = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(CASE["seed"]))
    predict = lambda text: pipe.unet(x, torch.tensor(CASE["timestep"]), encoder_hidden_states=text).sample
    ids = tokens(pipe, CASE["prompt"])
    out = {"sample": x}
    with torch.no_grad():
        text, empty, negative = encode(pipe, ids), encode(pipe, []), encode(pipe, tokens(pipe, CASE["negative"]))
        own = predict(text)
        away = lambda other: (own - predict(other)).square().sum(1)[0]
        rows, again = [], []
        for word in CASE["words"]:
            where = places(pipe, ids, word)
            other = text.clone()
            other[:, [p + 1 for p in where]] = empty[:, [p + 1 for p in where]]
            rows.append(away(other))
            if not word.startswith("<"):
                again.append(away(encode(pipe, [t for i, t in enumerate(ids) if i not in where])))
        for name, squares in (("rows", torch.stack(rows)), ("retokenise", torch.stack(again))):
            out[f"{name}/drop"], out[f"{name}/norm"] = squares.sqrt(), squares.sum((1, 2)).sqrt()
        whole = away(empty)
        out |= {"whole": whole.sqrt(), "whole_norm": whole.sum().sqrt()[None], "text_norm": own.norm()[None]}
        uncond = predict(negative)
    h, w = x.shape[2:]
    x0, y0, x1, y1 = (round(share * side) for share, side in zip(CASE["area"], (w, h, w, h)))
    for name, box in (("", (slice(None), slice(None))), ("/area", (slice(y0, y1), slice(x0, x1)))):
        e = text.clone().requires_grad_()
        s = (predict(e) - uncond)[..., box[0], box[1]].square().sum()
        s.backward()
        out |= {f"gradient{name}": (e.grad * e).norm(dim=-1)[0].detach(), f"score{name}": s.detach()[None]}
    save_file({k: v.contiguous() for k, v in out.items()}, HERE / "attribution.safetensors",
              metadata={"case": json.dumps(CASE)})
    print({k: [round(v, 5) for v in t.flatten()[:4].tolist()] for k, t in out.items()})


main()
