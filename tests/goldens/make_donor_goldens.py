"""Reference values from Hugging Face diffusers for what is copied from another run: its rows run beside, hooks copy them.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors
    python make_donor_goldens.py

Writes `donors.safetensors` beside it, for `tiny-sd`: a DDIM run with DONOR's prompt, and for each case the latents of every
step of a run beside which that one runs, row 2 behind the negative prompt's and the prompt's.
  donor/latents/<k>       [1, 4, 8, 8], after step k (k = 0 is the start)
  case/NAME/latents/<k>   the same
The metadata has the cases as JSON under "cases": edits as sdviz writes them, prompt, seed, steps, guidance scale.

The maps of tokens are those of prompt-to-prompt's `seq_aligner.py`, but for one thing: where words have other numbers of
tokens, its replacement goes on behind the last of them with `mapper[j, j]`, which leaves the end of the text and the padding
a few places off; here the end belongs to the end.
"""
import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

from make_edit_goldens import Opened

HERE = Path(__file__).parent
DONOR, NEGATIVE = "a lovely cat", "blurry"
STEPS, SCALE, SEED = 4, 5.0, 7
DOG, MANY, RED = "a lovely dog", "a lovely thermodynamics", "a red lovely cat on the wall"


def replacement(tokenizer, x, y):
    """`get_replacement_mapper_`, word by word; the source along the rows."""
    ids = lambda word: tokenizer(word, add_special_tokens=False).input_ids
    mapper, i, j = torch.zeros(77, 77), 1, 1
    mapper[0, 0] = 1
    for a, b in zip(x.split(), y.split()):
        n, m = len(ids(a)), len(ids(b))
        if n == m:
            mapper[range(i, i + n), range(j, j + m)] = 1
        else:
            mapper[i:i + n, j:j + m] = 1 / m
        i, j = i + n, j + m
    while i < 77:
        mapper[i, min(j, 76)] += 1
        i, j = i + 1, j + 1
    return mapper


def refinement(tokenizer, x, y):
    """`get_mapper`: Needleman-Wunsch over the token ids, begin and end of text among them."""
    x, y = tokenizer(x).input_ids, tokenizer(y).input_ids
    matrix, trace = torch.zeros(len(x) + 1, len(y) + 1), torch.zeros(len(x) + 1, len(y) + 1, dtype=torch.int)
    trace[0, 1:], trace[1:, 0], trace[0, 0] = 1, 2, 4
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = matrix[i, j - 1], matrix[i - 1, j]
            diag = matrix[i - 1, j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            matrix[i, j] = max(left, up, diag)
            trace[i, j] = 1 if matrix[i, j] == left else 2 if matrix[i, j] == up else 3
    mapper, alphas = torch.arange(77), torch.ones(77)
    i, j = len(x), len(y)
    while trace[i, j] != 4:
        if trace[i, j] == 3:
            i, j = i - 1, j - 1
            mapper[j] = i
        elif trace[i, j] == 1:
            j -= 1
            alphas[j] = 0
        else:
            i -= 1
    return mapper, alphas


def main():
    torch.set_num_threads(2)
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    unet, tokenizer = pipe.unet, pipe.tokenizer
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    stock, handles, now = dict(unet.attn_processors), [], {"step": 0}
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(SEED)) * scheduler.init_noise_sigma

    def told(text):
        ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
        return pipe.text_encoder(ids)[0]

    def run(prompt, donor=None):
        rows = [told(NEGATIVE), told(prompt)] + ([] if donor is None else [told(DONOR)])
        x, kept = start, [start]
        for k, t in enumerate(scheduler.timesteps, 1):
            now["step"] = k
            sample = torch.cat([x, x] + ([] if donor is None else [donor[k - 1]]))
            uncond, text = unet(sample, t, encoder_hidden_states=torch.cat(rows)).sample[:2].chunk(2)
            x = scheduler.step(uncond + SCALE * (text - uncond), t, x).prev_sample
            kept.append(x)
        return kept

    def opened(edits):
        """`edits` are pairs of a test on name, places and step, and a change of the prompt's row given the donor's."""
        def edit(name, probs):
            for wanted, change in edits:
                if wanted(name, probs.shape[2], now["step"]):
                    probs = probs.clone()
                    probs[1] = change(probs[1], probs[2])
            return probs
        of_probs = lambda what, name, tensor: edit(name, tensor) if what == "probs" else tensor
        unet.set_attn_processor({n: Opened(n.removesuffix(".processor"), of_probs) for n in unet.attn_processors})

    cross = lambda last: lambda name, _, step: name.endswith("attn2") and step <= last
    small = lambda last: lambda name, places, step: name.endswith("attn1") and places <= 4 and step <= last
    taken = lambda own, theirs: theirs
    replaced = lambda y: (lambda m: lambda own, theirs: theirs @ m)(replacement(tokenizer, DONOR, y))

    def refined(y):
        mapper, alphas = refinement(tokenizer, DONOR, y)
        return lambda own, theirs: theirs[..., mapper] * alphas + own * (1 - alphas)

    def weighed(own, _):
        own = own.clone()
        own[..., tokenizer(DOG).input_ids.index(tokenizer("lovely").input_ids[1])] *= 3
        return own

    def both(module, steps):
        def hook(_, given, out):
            return torch.cat([out[2:], out[2:], out[2:]]) if now["step"] in steps else None
        handles.append(module.register_forward_hook(hook))

    def pnp():
        both(unet.up_blocks[1].resnets[1].conv2, range(1, 4))
        for i, block in enumerate(unet.up_blocks):
            for j, attention in enumerate(getattr(block, "attentions", [])):
                if i > 1 or j > 0:
                    attn1 = attention.transformer_blocks[0].attn1
                    both(attn1.to_q, range(1, 3))
                    both(attn1.to_k, range(1, 3))

    def masactrl():
        for block in unet.up_blocks[2:]:
            for attention in block.attentions:
                attn1 = attention.transformer_blocks[0].attn1
                both(attn1.to_k, range(2, 5))
                both(attn1.to_v, range(2, 5))

    c = "copy unet.**.attn2.probs map=words steps=1-3"
    s = "copy unet.**.attn1.probs sizes=f4,f8 steps=1-2"
    cases = {
        "replace": (DOG, [c], lambda: opened([(cross(3), replaced(DOG))])),
        "replace-uneven": (MANY, [c], lambda: opened([(cross(3), replaced(MANY))])),
        "refine": (RED, [c], lambda: opened([(cross(3), refined(RED))])),
        "reweight": (DOG, [c, "weigh unet.**.attn2 words=lovely by=3"],
                     lambda: opened([(cross(3), replaced(DOG)), (cross(4), weighed)])),
        "self": (DOG, [s], lambda: opened([(small(2), taken)])),
        "pnp": (DOG, ["copy unet.up_blocks.1.resnets.1.conv2 branch=both steps=1-3"]
                + [f"copy unet.up_blocks.{sites}.transformer_blocks.0.attn1.{what} branch=both steps=1-2"
                   for sites in ("1.attentions.1", "1.attentions.2", "2.attentions.*", "3.attentions.*")
                   for what in ("to_q", "to_k")], pnp),
        "masactrl": (DOG, [f"copy unet.up_blocks.**.attn1.{what} sizes=f1,f2 branch=both steps=2-4"
                           for what in ("to_k", "to_v")], masactrl),
    }
    tensors, settings = {}, {}
    with torch.no_grad():
        donor = run(DONOR)
        keep = lambda name, kept: tensors.update({f"{name}/latents/{k}": x.clone() for k, x in enumerate(kept)})
        keep("donor", donor)
        for name, (prompt, edits, prepare) in cases.items():
            plain = run(prompt)
            prepare()
            kept = run(prompt, donor)
            keep(f"case/{name}", kept)
            settings[name] = dict(prompt=prompt, edits=edits)
            assert (kept[-1] - plain[-1]).abs().max() > 1e-3 and (kept[-1] - donor[-1]).abs().max() > 1e-3, name
            print(f"{name:15} largest difference from the run without {(kept[-1] - plain[-1]).abs().max():.3f}, from the "
                  f"donor {(kept[-1] - donor[-1]).abs().max():.3f}")
            while handles:
                handles.pop().remove()
            unet.set_attn_processor(dict(stock))
    about = dict(donor=DONOR, negative_prompt=NEGATIVE, steps=STEPS, guidance_scale=SCALE, seed=SEED, cases=settings)
    save_file(tensors, HERE / "donors.safetensors", metadata={"cases": json.dumps(about)})


if __name__ == "__main__":
    main()
