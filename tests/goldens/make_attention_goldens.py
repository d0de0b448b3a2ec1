"""Attention probabilities from diffusers, and the maps that others make of them, for the tests of attention.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors scipy accelerate
    python make_attention_goldens.py

Runs `tiny-sd` at 64x64 and 64x96, `tiny-sd2` at 32x40 and the pocket model with three DDIM steps, with a processor in
place of diffusers' own that forms the probabilities (`AttnProcessor`, opened up; the output of one forward is checked to
be the stock one's). Settings are JSON in the metadata under "cases". A text has columns: start, its tokens, the first
end-of-text, and the sum over the padding.

Keys of attention.safetensors, all f32; CASE is `sd1-square`, `sd1-wide`, `sd2-odd` or `pocket`, which
has less, BRANCH `text` or `uncond`, K the step, F the factor of a size (1: the latents' own), SITE as in `unet.mid_block.attentions.0.transformer_blocks.0.attn2`:
  CASE/K/BRANCH/SITE         [T, h, w]         a layer of cross-attention: mean over its heads
  CASE/2/BRANCH/heads/SITE   [heads, T, h, w]  each head, of some layers (not `sd1-wide`)
  CASE/mean/text/SITE        [heads, T, h, w]  each head, mean over the steps (`sd1-square`)
  CASE/2/text/self/fF        [n, n]            self-attention of a size: mean over heads and layers
  CASE/2/text/query/SITE     [h, w]            where the place at x 0.3, y 0.6 looks: mean over the heads, brought to the
                                               latents' size: bicubic, clamped at 0
  CASE/latents               the latents after the last step
Maps as others aggregate them, of the text alone:
  CASE/daam                  [T - 1, H, W]     DAAM: per layer (but those of factor 8) and head the sum over the steps,
                                               bicubic to the latents' size, clamped at 0, then the mean over all; rows:
                                               start, tokens, one end
  CASE/daam-normalised       the same over (sum over the tokens + 1e-6)
  CASE/p2p/fF                [T, h, w]         prompt-to-prompt: mean over steps, heads and the layers of a size on the way
                                               down and up, not the middle
  CASE/2/a-and-e/fF          [75, h, w]        Attend-and-Excite: mean over the heads and layers of a size, the middle too;
                                               places 1 to 75, times 100, softmax
  CASE/2/a-and-e-words/fF    [tokens, h, w]    the same with `normalize_eot`: the tokens alone
"""
import json, math, pathlib
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch.nn import functional
import make_goldens as goldens

HERE = pathlib.Path(__file__).resolve().parent
QUERY = (0.3, 0.6)
CASES = [  # the latents' size follows from hw
    dict(name="sd1-square", model="tiny-sd", prompt="a red cat, 2024 cats", negative="blurry", hw=[64, 64]),
    dict(name="sd1-wide", model="tiny-sd", prompt="a lovely cat", negative="", hw=[64, 96]),
    dict(name="sd2-odd", model="tiny-sd2", prompt="a red apple", negative="flat style", hw=[32, 40]),
    # Trained, so its words differ: of the random models every place looks at all keys nearly alike.
    dict(name="pocket", model="../../assets/pocket", prompt="a red apple on a blue background", negative="", hw=[128, 128]),
]
SETTINGS = dict(scheduler="ddim", steps=3, guidance=7.5, seed=1024, query=QUERY)


class Keep:
    """diffusers' AttnProcessor, opened up: what it multiplies the values with is handed on."""

    def __init__(self, name, sink):
        self.name, self.sink = name, sink

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, temb=None, *_, **__):
        context = x if encoder_hidden_states is None else encoder_hidden_states
        batch, places, _ = x.shape
        q, k, v = (attn.head_to_batch_dim(t) for t in (attn.to_q(x), attn.to_k(context), attn.to_v(context)))
        probs = attn.get_attention_scores(q, k, attention_mask).view(batch, attn.heads, places, -1)
        self.sink(self.name, probs)
        out = attn.batch_to_head_dim(torch.bmm(probs.reshape(batch * attn.heads, places, -1), v))
        return attn.to_out[1](attn.to_out[0](out))


def watch(pipe, sink):
    names = list(pipe.unet.attn_processors)
    pipe.unet.set_attn_processor({n: Keep("unet." + n.removesuffix(".processor"), sink) for n in names})


def check_against_stock(pipe, text):
    size = pipe.unet.config.sample_size
    x = torch.randn(2, 4, size, size, generator=torch.Generator().manual_seed(3))
    forward = lambda: pipe.unet(x, torch.tensor([981.0, 17.0]), encoder_hidden_states=text).sample
    stock = forward()
    watch(pipe, lambda *_: None)
    away = (forward() - stock).abs().max() / stock.abs().max()
    assert away < 1e-6, away


def factor_of(site, levels):
    part = site.split(".")
    level = {"down_blocks": lambda: int(part[2]), "up_blocks": lambda: levels - 1 - int(part[2])}
    return 2 ** level.get(part[1], lambda: levels - 1)()


def bicubic(maps, size):
    return functional.interpolate(maps, size=size, mode="bicubic", align_corners=False).clamp(min=0)


def one_case(c):
    pipe = StableDiffusionPipeline.from_pretrained(HERE / c["model"], safety_checker=None, torch_dtype=torch.float32)
    ids, text = goldens.encode(pipe, c["prompt"], c["negative"])
    check_against_stock(pipe, text)
    seen, step = {}, [0]
    pipe.unet.register_forward_pre_hook(lambda *_: step.__setitem__(0, step[0] + 1))
    watch(pipe, lambda name, probs: seen.__setitem__((step[0], name), probs.clone()))
    s = SETTINGS
    _, latents, _, _ = goldens.run(pipe, goldens.SCHEDULERS[s["scheduler"]], text, s["steps"], s["guidance"], s["seed"],
                                   c["hw"])
    levels = len(pipe.unet.config.block_out_channels)
    h, w = (side // goldens.factor(pipe) for side in c["hw"])
    factors = {name: factor_of(name, levels) for _, name in seen}
    grid = lambda name: (math.ceil(h / factors[name]), math.ceil(w / factors[name]))
    tokens = [int((row == pipe.tokenizer.eos_token_id).nonzero()[0]) - 1 for row in ids]
    rows = {"uncond": 0, "text": 1}

    def maps(k, name, branch):
        """[heads, 77, h, w]"""
        probs = seen[k, name][rows[branch]]
        return probs.transpose(1, 2).reshape(probs.shape[0], -1, *grid(name))

    def columns(maps, branch):
        end = tokens[rows[branch]] + 2
        return torch.cat([maps[:, :end], maps[:, end:].sum(1, keepdim=True)], 1)

    steps = range(1, s["steps"] + 1)
    cross = [name for k, name in seen if k == 1 and name.endswith("attn2")]
    own = [name for k, name in seen if k == 1 and name.endswith("attn1")]
    out = {"latents": latents[-1]}
    small = c["name"] == "pocket"
    for branch in ["text"] if small else rows:
        for k in [2] if small else steps:
            for name in cross:
                out[f"{k}/{branch}/{name}"] = columns(maps(k, name, branch), branch).mean(0)
        if c["name"] in ("sd1-square", "sd2-odd"):
            for name in cross[::5]:
                out[f"2/{branch}/heads/{name}"] = columns(maps(2, name, branch), branch)
    for factor in [] if small else sorted(set(factors.values())):
        of_size = [seen[2, name][1] for name in own if factors[name] == factor]
        out[f"2/text/self/f{factor}"] = torch.cat(of_size).mean(0)
    for name in [] if small else own:
        high, wide = grid(name)
        place = int(QUERY[1] * high) * wide + int(QUERY[0] * wide)
        row = seen[2, name][1][:, place].mean(0).view(1, 1, high, wide)
        out[f"2/text/query/{name}"] = (row if (high, wide) == (h, w) else bicubic(row, (h, w)))[0, 0]
    if c["name"] == "sd1-square":
        for name in cross:
            out[f"mean/text/{name}"] = sum(columns(maps(k, name, "text"), "text") for k in steps) / len(steps)

    # DAAM
    heads = [bicubic(sum(maps(k, name, "text") for k in steps), (h, w)) for name in cross if factors[name] != 8]
    daam = torch.cat(heads).mean(0)[:tokens[1] + 2]
    out |= {"daam": daam, "daam-normalised": daam / (daam[1:-1].sum(0, keepdim=True) + 1e-6)}
    for factor in sorted(set(factors[name] for name in cross)):
        of_size = [name for name in cross if factors[name] == factor]
        outer = [name for name in of_size if "mid_block" not in name]
        if outer:
            all_steps = torch.cat([columns(maps(k, name, "text"), "text") for k in steps for name in outer])
            out[f"p2p/f{factor}"] = all_steps.mean(0)
        mean = torch.cat([maps(2, name, "text") for name in of_size]).mean(0)
        out[f"2/a-and-e-words/f{factor}"] = (100 * mean[1:tokens[1] + 1]).softmax(0)
        if factor > 1:
            out[f"2/a-and-e/f{factor}"] = (100 * mean[1:-1]).softmax(0)
    deviation = max(float(seen[2, name].std()) for name in cross)
    print(f"{c['name']:12s} {len(cross)} layers, {tokens[1]} tokens, probabilities vary by {deviation:.4f}")
    return {f"{c['name']}/{key}": value.contiguous().clone() for key, value in out.items()}


@torch.no_grad()
def main():
    torch.set_num_threads(2)
    out = {}
    for c in CASES:
        out |= one_case(c)
    save_file(out, HERE / "attention.safetensors", metadata={"cases": json.dumps([SETTINGS | c for c in CASES])})


if __name__ == "__main__":
    main()
