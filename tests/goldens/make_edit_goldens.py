"""Reference values from Hugging Face diffusers for edits: the same changes made by hooks on its modules.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 safetensors
    python make_edit_goldens.py

Writes `edits.safetensors` beside it: for each case the latents of every step of a DDIM run of `tiny-sd`.
  case/NAME/latents/<k>   [1, 4, h, w], after step k (k = 0 is the start)
The metadata has the cases as JSON under "cases": edits as sdviz writes them, steps, size, prompts, seed, guidance scale.
A hook sees both predictions in one batch, the negative prompt's row first; what the cases change is the row with the
prompt, where they do not say otherwise.
"""
import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

HERE = Path(__file__).parent
PROMPT, NEGATIVE, OTHER = "a photograph of an astronaut riding a horse", "blurry", "a lovely cat"


class Opened:
    """One attention, opened up: diffusers' `AttnProcessor` with a change of scores, probabilities or heads."""
    def __init__(self, name, edit):
        self.name, self.edit = name, edit

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, temb=None, *args, **kwargs):
        context = x if encoder_hidden_states is None else encoder_hidden_states
        b, n, _ = x.shape
        split = lambda t: t.view(b, -1, attn.heads, t.shape[-1] // attn.heads).transpose(1, 2)
        q, k, v = split(attn.to_q(x)), split(attn.to_k(context)), split(attn.to_v(context))
        scores = self.edit("scores", self.name, q @ k.transpose(-1, -2) * attn.scale)
        probs = self.edit("probs", self.name, scores.softmax(-1))
        heads = self.edit("heads", self.name, probs @ v)
        return attn.to_out[1](attn.to_out[0](heads.transpose(1, 2).reshape(b, n, -1)))


def main():
    torch.set_num_threads(2)
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    unet, tokens = pipe.unet, pipe.tokenizer(PROMPT).input_ids
    stock = dict(unet.attn_processors)
    place = lambda word: tokens.index(pipe.tokenizer(word).input_ids[1])
    with torch.no_grad():
        ids = pipe.tokenizer(OTHER, padding="max_length", max_length=77, return_tensors="pt").input_ids
        other = pipe.text_encoder(ids)[0]
    now, handles = {"step": 0}, []

    def opened(edit):
        names = {n: Opened("unet." + n.removesuffix(".processor"), edit) for n in unet.attn_processors}
        unet.set_attn_processor(names)

    def of_text(wanted, kind, change, steps=range(1, 100)):
        """Changes the prompt's row of what arises in the attentions whose name has `wanted`."""
        def edit(what, name, tensor):
            if what != kind or wanted not in name or now["step"] not in steps:
                return tensor
            tensor = tensor.clone()
            tensor[1] = change(tensor[1].clone())
            return tensor
        opened(edit)

    def after(module, change, steps=range(1, 100)):
        """Changes the prompt's row of a module's result; `change` also gets the row that it was given."""
        def hook(_, given, out):
            if now["step"] not in steps:
                return None
            out = out.clone()
            out[1] = change(out[1].clone(), given[0][1])
            return out
        handles.append(module.register_forward_hook(hook))

    def columns(places, value):
        def change(t):
            t[..., places] = value(t[..., places])
            return t
        return change

    def skips(factor, level=None):
        def hook(module, args, kwargs):
            left = kwargs["res_hidden_states_tuple"]
            count = len(module.resnets)
            row = torch.tensor([1.0, factor]).view(2, 1, 1, 1)
            kwargs["res_hidden_states_tuple"] = left[:-count] + tuple(t * row for t in left[-count:])
            return args, kwargs
        for block in (unet.up_blocks if level is None else [unet.up_blocks[level]]):
            handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))

    def told(module_prefix):
        for name, module in unet.named_modules():
            if name.startswith(module_prefix) and name.endswith("attn2"):
                def hook(_, args, kwargs):
                    context = kwargs["encoder_hidden_states"].clone()
                    context[1] = other[0]
                    kwargs["encoder_hidden_states"] = context
                    return args, kwargs
                handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def heads_off(t):
        t[[0, 3]] = 0
        return t

    horse, astronaut = place("horse"), place("astronaut")
    mean = lambda out, _: out.mean((-1, -2), keepdim=True).expand_as(out)
    quarter = torch.zeros(8, 8, dtype=torch.bool)
    quarter[:4, :4] = True
    attn2 = dict(unet.named_modules())["mid_block.attentions.0.transformer_blocks.0.attn2"]
    cases = {
        "plain": ([], lambda: None),
        "weigh": (["weigh **.attn2 words=horse by=3"], lambda: of_text("attn2", "probs", columns(horse, lambda t: t * 3))),
        "mask": (["mask unet.** words=astronaut steps=1-3"],
                 lambda: of_text("attn2", "scores", columns(astronaut, lambda t: t.fill_(-torch.inf)), range(1, 4))),
        "start": (["mask ** words=<words>,<end>,<padding>"],
                  lambda: of_text("attn2", "scores", columns(slice(1, None), lambda t: t.fill_(-torch.inf)))),
        "freeu": (["freeu b1=1.5 b2=1.6 s1=0.9 s2=0.2"],
                  lambda: pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)),
        "skips": (["scale unet.up_blocks.*.resnets.*.skip by=0.5"], lambda: skips(0.5)),
        "skips-level": (["zero up.2.resnets.*.skip"], lambda: skips(0.0, 2)),
        "prompt": ([f"prompt unet.down_blocks.1.** text='{OTHER}'"], lambda: told("down_blocks.1.")),
        "prompt-all": ([f"prompt unet.** text='{OTHER}'"], lambda: told("")),
        "zero-heads": (["zero **.attn2 heads=0,3 steps=2-3"], lambda: of_text("attn2", "heads", heads_off, range(2, 4))),
        "zero-module": (["zero mid.**.cross"], lambda: after(attn2, lambda out, _: torch.zeros_like(out))),
        "skip-module": (["skip mid steps=0-50%"], lambda: after(unet.mid_block, lambda out, given: given, range(1, 3))),
        "identity": (["identity **.attn1"], lambda: of_text("attn1", "probs", lambda t: torch.eye(t.shape[-1]).expand_as(t))),
        "uniform": (["uniform **.attn1"],
                    lambda: of_text("attn1", "probs", lambda t: torch.full_like(t, 1 / t.shape[-1]))),
        "mean": (["mean up.2.resnets.0"], lambda: after(unet.up_blocks[2].resnets[0], mean)),
        "area": (["scale unet.conv_in by=0 area=0,0,0.5,0.5"],
                 lambda: after(unet.conv_in, lambda out, _: torch.where(quarter, 0 * out, out))),
        "several": (["scale unet.conv_in by=1.1 steps=1", "zero unet.conv_in channels=2-3"],
                    lambda: (after(unet.conv_in, lambda out, _: out * 1.1, [1]),
                             after(unet.conv_in, lambda out, _: out * (torch.arange(len(out)) // 2 != 1).view(-1, 1, 1)))),
    }
    settings, tensors = {}, {}
    handles.append(unet.register_forward_pre_hook(lambda *_: now.update(step=now["step"] + 1)))
    count_hook = handles.pop()
    for name, (edits, prepare) in cases.items():
        now["step"] = 0
        prepare()
        kept = []
        run = dict(num_inference_steps=4, guidance_scale=7.5, height=64, width=64)
        start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1024))
        pipe(PROMPT, negative_prompt=NEGATIVE, latents=start, output_type="latent", **run,
             callback_on_step_end=lambda p, i, t, values: kept.append(values["latents"].clone()) or values)
        for k, latents in enumerate([start * pipe.scheduler.init_noise_sigma, *kept]):
            tensors[f"case/{name}/latents/{k}"] = latents.contiguous()
        settings[name] = dict(edits=edits, prompt=PROMPT, negative_prompt=NEGATIVE, steps=4, guidance_scale=7.5, seed=1024,
                              width=64, height=64, scheduler="ddim")
        apart = (kept[-1] - tensors["case/plain/latents/4"]).abs().max().item()
        print(f"{name:12} largest difference from the plain run {apart:.3f}")
        assert (apart > 1e-3) == (name != "plain"), name
        while handles:
            handles.pop().remove()
        unet.set_attn_processor(dict(stock))
        pipe.disable_freeu()
    count_hook.remove()
    # Opened up, the attentions compute what they did.
    opened(lambda what, name, tensor: tensor)
    again = pipe(PROMPT, negative_prompt=NEGATIVE, latents=torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1024)),
                 output_type="latent", num_inference_steps=4, guidance_scale=7.5, height=64, width=64).images
    assert (again - tensors["case/plain/latents/4"]).abs().max() < 1e-4
    save_file(tensors, HERE / "edits.safetensors", metadata={"cases": json.dumps(settings)})


if __name__ == "__main__":
    main()
