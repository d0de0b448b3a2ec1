"""Reference values for prompt-to-prompt's local blend (Hertz et al. 2022, `LocalBlend` of the authors' notebooks), by its
formula, with the predictions of Hugging Face diffusers.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors
    python make_blend_goldens.py

Writes `blend.safetensors` beside it, for the pocket model at 192x256 pixels (latents 24x32, of which a quarter is 6x8): a
DDIM run with DONOR's prompt, and for each case a run beside which that one runs, row 2 behind the negative prompt's and the
prompt's. After each step, with A_s the probabilities of the prompt's and the donor's row in the layers at a quarter of the
latents' sides, those of the middle block apart, and 1_w the prompt's or the donor's tokens that belong to the words:

    m = mean over heads and layers of sum_{s <= step} A_s 1_w
    M = max of m over 3x3 neighbours, brought to the latents' size by repeating, over its greatest
    latents = donor + (1 where M > 0.3 for the prompt or for the donor, else 0) * (latents - donor)

Keys:
  donor/latents/<k>       [1, 4, 32, 24], after step k (k = 0 is the start)
  case/NAME/latents/<k>   the same
  case/NAME/mask/<k>      [1, 1, 32, 24] uint8, where the run's own latents stay
The metadata has the cases as JSON under "cases", as those of `donors.safetensors`.
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as nnf
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

from make_donor_goldens import replacement
from make_edit_goldens import Opened

HERE = Path(__file__).parent
DONOR, NEGATIVE = "a red apple on a blue background", ""
STEPS, SCALE, SEED, HW = 4, 5.0, 7, (32, 24)
QUARTER = ["down_blocks.2.attentions.0", "up_blocks.0.attentions.0", "up_blocks.0.attentions.1"]
# Beside the prompt: the words, and for how many steps the donor's cross-attention is copied first.
CASES = {
    "replaced": ("a green apple on a blue background", ["red", "green"], 3),
    "own": ("a red heart on a yellow background", ["background"], 0),
    "colour": ("a red apple on a green background", ["red"], 0),
}


def places(tokenizer, prompt, words):
    """The places of the words' tokens in a prompt, all of them single tokens here."""
    ids = tokenizer(prompt).input_ids
    wanted = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
    assert all(len(w) == 1 for w in wanted), words
    return [place for place, token in enumerate(ids) if [token] in wanted]


def area(maps):
    """`LocalBlend.__call__`: `maps` [layers * heads, h, w] of one prompt, words and steps added up."""
    m = nnf.max_pool2d(maps.mean(0)[None, None], (3, 3), (1, 1), padding=(1, 1))
    m = nnf.interpolate(m, size=HW)
    return m / m.amax((2, 3), keepdim=True) > 0.3


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "../../assets/pocket", safety_checker=None, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    unet, tokenizer = pipe.unet, pipe.tokenizer
    stock = dict(unet.attn_processors)
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    start = torch.randn(1, 4, *HW, generator=torch.Generator().manual_seed(SEED)) * scheduler.init_noise_sigma

    def told(text):
        ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
        return pipe.text_encoder(ids)[0]

    def run(prompt, donor=None, after=lambda k, x: x, before=lambda k: None):
        rows = [told(NEGATIVE), told(prompt)] + ([] if donor is None else [told(DONOR)])
        x, kept = start, [start]
        for k, t in enumerate(scheduler.timesteps, 1):
            before(k)
            sample = torch.cat([x, x] + ([] if donor is None else [donor[k - 1]]))
            uncond, text = unet(sample, t, encoder_hidden_states=torch.cat(rows)).sample[:2].chunk(2)
            x = after(k, scheduler.step(uncond + SCALE * (text - uncond), t, x).prev_sample)
            kept.append(x)
        return kept

    donor = run(DONOR)
    tensors = {f"donor/latents/{k}": x for k, x in enumerate(donor)}
    settings = {}
    for name, (prompt, words, copied) in CASES.items():
        mapper = replacement(tokenizer, DONOR, prompt) if copied else None
        at = [places(tokenizer, text, words) for text in (prompt, DONOR)]
        sums, now, masks = {}, {"step": 0}, []

        def before(k):
            now["step"] = k

        def edit(what, layer, tensor):
            if what != "probs" or not layer.endswith("attn2"):
                return tensor
            if now["step"] <= copied:
                tensor = tensor.clone()
                tensor[1] = tensor[2] @ mapper
            if any(layer.startswith(block + ".") for block in QUARTER):
                for row, of in enumerate(at):
                    seen = tensor[row + 1][..., of].sum(-1).reshape(-1, HW[0] // 4, HW[1] // 4)
                    sums[layer, row] = sums.get((layer, row), 0) + seen
            return tensor

        def blended(k, x):
            rows = [torch.cat([maps for (_, r), maps in sums.items() if r == row]) for row in range(2)]
            mask = area(rows[0]) | area(rows[1])
            masks.append(mask)
            return donor[k] + mask.float() * (x - donor[k])

        plain = run(prompt)
        unet.set_attn_processor({n: Opened(n.removesuffix(".processor"), edit) for n in unet.attn_processors})
        kept = run(prompt, donor, blended, before)
        unet.set_attn_processor(dict(stock))
        shares = [float(mask.float().mean()) for mask in masks]
        print(f"{name:9} own latents stay in", " ".join(f"{share:.2f}" for share in shares))
        assert any(0.1 < share < 0.95 for share in shares), name
        assert (kept[-1] - plain[-1]).abs().max() > 1e-2 and (kept[-1] - donor[-1]).abs().max() > 1e-2, name
        tensors |= {f"case/{name}/latents/{k}": x for k, x in enumerate(kept)}
        tensors |= {f"case/{name}/mask/{k}": mask.to(torch.uint8) for k, mask in enumerate(masks, 1)}
        edits = [f"copy unet.**.attn2.probs map=replace steps=1-{copied}"] if copied else []
        settings[name] = dict(prompt=prompt, edits=edits + [f"copy latents outside='{','.join(words)}'"])
    about = dict(donor=DONOR, negative_prompt=NEGATIVE, steps=STEPS, guidance_scale=SCALE, seed=SEED,
                 width=HW[1] * 8, height=HW[0] * 8, cases=settings)
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, HERE / "blend.safetensors",
              metadata={"cases": json.dumps(about)})


if __name__ == "__main__":
    main()
