"""Reference values from Hugging Face diffusers and peft, for the tests of LoRAs and textual inversion embeddings.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 peft==0.21.2 safetensors scipy accelerate
    python make_lora_goldens.py

Writes to the folder `lora` beside it, all with random numbers from a fixed seed, made for `tiny-sd`:
  peft.safetensors        as `save_lora_weights` writes it: peft's names, `lora_alpha` in the header's `lora_adapter_metadata`;
                          attention of the UNet and the text encoder
  old.safetensors         the same numbers under the names of older versions of diffusers (`processor.to_q_lora.down`),
                          which know no alpha: it is multiplied into `up`
  kohya.safetensors       another one under kohya's names with `.alpha`, also for convolutions of 1x1 and 3x3, the
                          feed-forward layers and the time embedding
  embedding.safetensors   a textual inversion of three vectors as diffusers saves it: one tensor, called by its token
  a1111.safetensors       one of a single vector as AUTOMATIC1111's web UI has it: `emb_params`
  latents.safetensors     run/<case>/<k>: latents after step k of `load_lora_weights`, `set_adapters`,
                          `load_textual_inversion` and the visible loop; tokens/<case> and text/<case> for embeddings.
                          The cases stand in the metadata.
"""
import pathlib
import json
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from make_goldens import encode, run

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "lora"
PROMPT, NEGATIVE = "a lovely cat", "Sunshine"
STEPS, GUIDANCE, SEED, SIZE = 4, 5.0, 7, [64, 64]
ATTENTION = r"(down_blocks\.0|mid_block|up_blocks\.1)\..*attn[12]\.to_(q|k|v|out\.0)"
CONVOLUTIONS = (r"(down_blocks\.1|mid_block)\.(resnets\.0\.(conv1|conv_shortcut|time_emb_proj)|attentions\.0\.(proj_in"
                r"|transformer_blocks\.0\.(attn1\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2))|downsamplers\.0\.conv)")
OLD = {"unet": {"to_q": "to_q_lora", "to_k": "to_k_lora", "to_v": "to_v_lora", "to_out.0": "to_out_lora"},
       "text_encoder": {"q_proj": "to_q_lora", "k_proj": "to_k_lora", "v_proj": "to_v_lora", "out_proj": "to_out_lora"}}


def pipeline():
    return StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None, torch_dtype=torch.float32)


def adapters(unet, text, seed):
    """A pipeline with adapters of these configurations, filled with random numbers."""
    pipe = pipeline()
    pipe.unet.add_adapter(LoraConfig(**unet))
    pipe.text_encoder.add_adapter(LoraConfig(**text))
    g = torch.Generator().manual_seed(seed)
    for model in (pipe.unet, pipe.text_encoder):
        model.peft_config["default"].base_model_name_or_path = None  # a path of this machine
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.data = torch.randn(p.shape, generator=g) * 0.25
    return pipe


def layers(pipe):
    """(component, layer, down, up) of every adapter."""
    for component in ("unet", "text_encoder"):
        state = get_peft_model_state_dict(getattr(pipe, component))
        for key, down in state.items():
            if key.endswith(".lora_A.weight"):
                layer = key.removesuffix(".lora_A.weight")
                yield component, layer, down, state[f"{layer}.lora_B.weight"]


def save_peft():
    pipe = adapters(dict(r=2, lora_alpha=3, target_modules=ATTENTION),
                    dict(r=3, lora_alpha=2, target_modules=r".*\.(q|k|v|out)_proj"), 1)
    StableDiffusionPipeline.save_lora_weights(
        OUT, get_peft_model_state_dict(pipe.unet), get_peft_model_state_dict(pipe.text_encoder),
        weight_name="peft.safetensors",
        **_collate_lora_metadata({"unet": pipe.unet, "text_encoder": pipe.text_encoder}))
    old = {}
    for component, layer, down, up in layers(pipe):
        part = next(p for p in OLD[component] if layer.endswith(f".{p}"))
        front = layer.removesuffix(part) + ("processor." if component == "unet" else "")
        front = front if component == "unet" else f"text_model.{front}"
        scale = 3 / 2 if component == "unet" else 2 / 3
        old[f"{component}.{front}{OLD[component][part]}.down.weight"] = down.contiguous()
        old[f"{component}.{front}{OLD[component][part]}.up.weight"] = (up * scale).contiguous()
    save_file(old, OUT / "old.safetensors", metadata={"format": "pt"})


def save_kohya():
    pipe = adapters(dict(r=2, lora_alpha=1, target_modules=CONVOLUTIONS),
                    dict(r=2, lora_alpha=1, target_modules=r".*\.((q|k|v|out)_proj|fc1|fc2)"), 2)
    tensors = {}
    for component, layer, down, up in layers(pipe):
        name = layer if component == "unet" else f"text_model.{layer}"
        name = f"lora_{'unet' if component == 'unet' else 'te'}_{name.replace('.', '_')}"
        tensors[f"{name}.lora_down.weight"] = down.contiguous()
        tensors[f"{name}.lora_up.weight"] = up.contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, OUT / "kohya.safetensors", metadata={"ss_network_module": "networks.lora"})


def save_embeddings():
    g = torch.Generator().manual_seed(3)
    save_file({"<sketch>": torch.randn(3, 24, generator=g) * 0.5}, OUT / "embedding.safetensors")
    save_file({"emb_params": torch.randn(1, 24, generator=g) * 0.5}, OUT / "a1111.safetensors")


def latents(pipe, prompt=PROMPT):
    with torch.no_grad():
        prompt = pipe.maybe_convert_prompt(prompt, pipe.tokenizer)
        ids, text = encode(pipe, prompt, NEGATIVE)
        _, steps, _, _ = run(pipe, EulerDiscreteScheduler.from_config, text, STEPS, GUIDANCE, SEED, SIZE)
    return ids, text, steps


def main():
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(2)
    save_peft()
    save_kohya()
    save_embeddings()
    tensors, cases = {}, []
    for name, loras in {"none": [], "peft": [("peft", 1.0)], "peft-0.8": [("peft", 0.8)], "old": [("old", 1.0)],
                        "kohya": [("kohya", 1.0)], "two": [("peft", 0.5), ("kohya", -0.75)]}.items():
        pipe = pipeline()
        for file, _ in loras:
            pipe.load_lora_weights(OUT / f"{file}.safetensors", adapter_name=file)
        if loras:
            pipe.set_adapters([file for file, _ in loras], [weight for _, weight in loras])
        keep(tensors, cases, name, latents(pipe)[2], loras=[[f"{file}.safetensors", w] for file, w in loras])
    for name, prompt, embeddings in [
            ("embedding", "a <sketch> of a cat, <sketch>", [("<sketch>", "embedding")]),
            ("two-embeddings", "one <sketch> in easyneg", [("<sketch>", "embedding"), ("easyneg", "a1111")])]:
        pipe = pipeline()
        for token, file in embeddings:
            pipe.load_textual_inversion(str(OUT), weight_name=f"{file}.safetensors", token=token)
        ids, text, steps = latents(pipe, prompt)
        tensors[f"tokens/{name}"], tensors[f"text/{name}"] = ids, text
        keep(tensors, cases, name, steps, prompt=prompt,
             embeddings=[[token, f"{file}.safetensors"] for token, file in embeddings])
    largest = lambda a, b: ((tensors[f"run/{a}/{STEPS}"] - tensors[f"run/{b}/{STEPS}"]).abs().max()
                            / tensors[f"run/{b}/{STEPS}"].abs().max()).item()
    print("old against peft", largest("old", "peft"))
    for name in ("peft", "peft-0.8", "kohya", "two", "embedding"):
        print(f"{name} against none", largest(name, "none"))
    save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "latents.safetensors", metadata={
        "cases": json.dumps(cases), "settings": json.dumps(dict(
            prompt=PROMPT, negative_prompt=NEGATIVE, steps=STEPS, guidance_scale=GUIDANCE, seed=SEED,
            height=SIZE[0], width=SIZE[1], scheduler="euler"))})


def keep(tensors, cases, name, steps, **more):
    cases.append(dict(name=name, **more))
    for k, x in enumerate(steps):
        tensors[f"run/{name}/{k}"] = x


if __name__ == "__main__":
    main()
