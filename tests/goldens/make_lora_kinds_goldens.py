"""Reference weights from LyCORIS and peft, for the tests of LoHa, LoKr, DoRA, whole differences and peft's own files.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0 peft==0.21.2 safetensors scipy accelerate
    pip install --no-deps lycoris-lora==4.1.3 einops toml
    python make_lora_kinds_goldens.py

Writes to the folder `lora` beside it, all with random numbers from a fixed seed, made for `tiny-sd`:
  loha.safetensors        with and without alpha, a convolution with cores (Tucker) and one without
  lokr.safetensors        its two matrices whole or as products, in all the ways that LyCORIS writes them
  dora.safetensors        magnitudes of rows, `[out, 1]` (LyCORIS' `wd_on_out`), for a LoRA, a LoHa and a LoKr
  dora-columns.safetensors  magnitudes of columns, `[1, in]`, as LyCORIS had them first
  whole.safetensors       `diff` and `diff_b` of layers, `w_norm` and `b_norm` of norms (LyCORIS' `full` and `norm`)
  saved/                  a LoRA of peft's `save_pretrained`: adapter_model.safetensors and adapter_config.json
  peft-dora.safetensors   a DoRA as diffusers' `save_lora_weights` writes it
  merged.safetensors      <case>/<component>.<key>: the weight with the files of a case in it, one after another.
                          The cases stand in the metadata.

The differences are those of `lycoris.functional` (`loha.diff_weight`, `lokr.kron_weight`, `locon.diff_weight`,
`general.weight_decompose`), and of peft's merge. What alpha is divided by in a LoKr (the second product's rank, else the
first's) and that the weight multiplies the difference of a DoRA from the weight without it is as in ComfyUI's
`weight_adapter/lokr.py` and `base.py` and AUTOMATIC1111's `network.py`.
"""
import json
import pathlib
import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from lycoris.functional import general, locon, loha, lokr
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "lora"
LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
PIXEL = "down_blocks.1.resnets.0.conv_shortcut"
SQUARE = "down_blocks.0.downsamplers.0.conv"
NORM = "down_blocks.0.resnets.0.norm1"
TEXT = "text_model.encoder.layers.0.mlp.fc1"
TEXT_NORM = "text_model.final_layer_norm"

g = torch.Generator().manual_seed(11)


def random(*shape, std=0.3):
    return torch.randn(*shape, generator=g) * std


def kohya(layer):
    return f"lora_{'te' if layer.startswith('text_model.') else 'unet'}_{layer.replace('.', '_')}"


def key(layer):
    return f"text_encoder.{layer}" if layer.startswith("text_model.") else f"unet.{layer}"


def model():
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None, torch_dtype=torch.float32)
    weights = {f"unet.{k}": v.clone() for k, v in pipe.unet.state_dict().items()}
    text = pipe.text_encoder.state_dict().items()
    return weights | {f"text_encoder.text_model.{k.removeprefix('text_model.')}": v.clone() for k, v in text}


def scaled(factors, rank):
    return factors["alpha"].item() / rank if "alpha" in factors else 1.0


def difference(factors, shape):
    """alpha / rank · ΔW, by LyCORIS."""
    get = factors.get
    if "hada_w1_a" in factors:
        delta = loha.diff_weight(*(get(f"hada_{n}") for n in ("w1_b", "w1_a", "w2_b", "w2_a", "t1", "t2")),
                                 gamma=torch.tensor(scaled(factors, get("hada_w1_b").shape[0])))
    elif any(name.startswith("lokr") for name in factors):
        rank = next((get(b).shape[0] for b in ("lokr_w2_b", "lokr_w1_b") if b in factors), None)
        scale = scaled(factors, rank) if rank else 1.0
        delta = lokr.kron_weight(*(get(f"lokr_{n}") for n in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")), scale=scale)
    else:
        down, up = get("lora_down.weight"), get("lora_up.weight")
        delta = locon.diff_weight(down, up, None, gamma=scaled(factors, down.shape[0]))
    return delta.reshape(shape)


def merge(weights, files):
    """The weights with files in them, each with its weight."""
    weights = dict(weights)
    for layers, strength in files:
        for layer, factors in layers.items():
            name = f"{key(layer)}.weight"
            old = weights[name]
            whole = factors.get("diff", factors.get("w_norm"))
            bias = factors.get("diff_b", factors.get("b_norm"))
            if bias is not None:
                weights[f"{key(layer)}.bias"] = weights[f"{key(layer)}.bias"] + strength * bias
            if whole is not None:
                weights[name] = old + strength * whole
            elif "dora_scale" in factors:
                magnitude = factors["dora_scale"]
                new = general.weight_decompose(old + difference(factors, old.shape), magnitude,
                                               wd_on_out=magnitude.shape[0] == old.shape[0])
                weights[name] = old + strength * (new - old)
            elif any(name not in ("diff_b", "b_norm", "alpha") for name in factors):
                weights[name] = old + strength * difference(factors, old.shape)
    return weights


def loha_factors(shape, rank, core=False, alpha=None):
    out, inner, *kernel = shape
    factors = {}
    for i in "12":
        if core:
            factors[f"hada_t{i}"] = random(rank, rank, *kernel, std=0.7)
            factors[f"hada_w{i}_a"], factors[f"hada_w{i}_b"] = random(rank, out), random(rank, inner)
        else:
            columns = inner * torch.Size(kernel).numel()
            factors[f"hada_w{i}_a"], factors[f"hada_w{i}_b"] = random(out, rank, std=0.7), random(rank, columns, std=0.7)
    return factors | ({} if alpha is None else {"alpha": torch.tensor(float(alpha))})


def lora_factors(shape, rank, alpha=None):
    out, inner, *kernel = shape
    ones = [1] * len(kernel)
    factors = {"lora_down.weight": random(rank, inner, *kernel), "lora_up.weight": random(out, rank, *ones)}
    return factors | ({} if alpha is None else {"alpha": torch.tensor(float(alpha))})


def files(shapes):
    lokr_factors = {
        # w1 whole, w2 a product
        LINEAR: {"lokr_w1": random(2, 4), "lokr_w2_a": random(8, 2), "lokr_w2_b": random(2, 6), "alpha": torch.tensor(1.0)},
        # both products; no alpha
        TEXT: {"lokr_w1_a": random(6, 2), "lokr_w1_b": random(2, 4), "lokr_w2_a": random(8, 2), "lokr_w2_b": random(2, 6)},
        # the first one a product, whose rank counts
        "time_embedding.linear_1": {"lokr_w1_a": random(8, 3), "lokr_w1_b": random(3, 4), "lokr_w2": random(8, 4),
                                    "alpha": torch.tensor(2.0)},
        # both whole: alpha does not count
        PIXEL: {"lokr_w1": random(4, 2), "lokr_w2": random(8, 8, 1, 1), "alpha": torch.tensor(7.0)},
        SQUARE: {"lokr_w1": random(4, 4), "lokr_w2": random(4, 4, 3, 3)},
        # a product with the kernel among its columns
        "conv_in": {"lokr_w1": random(4, 2), "lokr_w2_a": random(4, 2), "lokr_w2_b": random(2, 18), "alpha": torch.tensor(3.0)},
        # a product with a core
        "conv_out": {"lokr_w1": random(2, 4), "lokr_t2": random(3, 3, 3, 3), "lokr_w2_a": random(3, 2),
                     "lokr_w2_b": random(3, 4), "alpha": torch.tensor(2.0)},
    }
    magnitude = lambda n, *shape: (1 + random(n, std=0.4)).abs().reshape(shape)
    rows = {
        LINEAR: lora_factors(shapes[LINEAR], 2, 1) | {"dora_scale": magnitude(16, 16, 1)},
        "conv_in": lora_factors(shapes["conv_in"], 3, 2) | {"dora_scale": magnitude(16, 16, 1, 1, 1)},
        TEXT: loha_factors(shapes[TEXT], 2, alpha=1) | {"dora_scale": magnitude(48, 48, 1)},
        PIXEL: {"lokr_w1": random(4, 2), "lokr_w2": random(8, 8, 1, 1), "dora_scale": magnitude(32, 32, 1, 1, 1)},
    }
    columns = {
        LINEAR: lora_factors(shapes[LINEAR], 2, 1) | {"dora_scale": magnitude(24, 1, 24)},
        "conv_in": lora_factors(shapes["conv_in"], 3) | {"dora_scale": magnitude(4, 1, 4, 1, 1)},
        TEXT: lora_factors(shapes[TEXT], 2, 4) | {"dora_scale": magnitude(24, 1, 24)},
    }
    whole = {
        LINEAR: {"diff": random(16, 24)},
        "conv_in": {"diff": random(16, 4, 3, 3), "diff_b": random(16)},
        "conv_out": lora_factors(shapes["conv_out"], 2, 1) | {"diff_b": random(4)},
        NORM: {"w_norm": random(16), "b_norm": random(16)},
        TEXT: {"diff_b": random(48)},
        TEXT_NORM: {"w_norm": random(24), "b_norm": random(24)},
    }
    return {
        "loha": {
            LINEAR: loha_factors(shapes[LINEAR], 2, alpha=1),
            TEXT: loha_factors(shapes[TEXT], 3),
            PIXEL: loha_factors(shapes[PIXEL], 2, alpha=4),
            "conv_in": loha_factors(shapes["conv_in"], 3, core=True, alpha=2),
            "conv_out": loha_factors(shapes["conv_out"], 2, alpha=3),
        },
        "lokr": lokr_factors, "dora": rows, "dora-columns": columns, "whole": whole,
    }


def of_peft():
    """peft's folder, and what its merge makes of the weights."""
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None, torch_dtype=torch.float32)
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["attn2.to_k", "attn2.to_v", "conv_in"], use_rslora=True,
                        rank_pattern={"conv_in": 4}, alpha_pattern={r"down_blocks\.0\..*\.to_v": 5})
    model = get_peft_model(pipe.unet, config)
    model.peft_config["default"].base_model_name_or_path = None  # a path of this machine
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = random(*p.shape)
    model.save_pretrained(OUT / "saved")
    (OUT / "saved/README.md").unlink(missing_ok=True)
    settings = json.loads((OUT / "saved/adapter_config.json").read_text())
    settings["target_modules"].sort()  # a set, in any order
    (OUT / "saved/adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return {f"unet.{k}": v for k, v in model.merge_and_unload().state_dict().items()}


def dora_of_peft():
    pipe = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None, torch_dtype=torch.float32)
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=3, target_modules=[LINEAR, "conv_in"], use_dora=True))
    pipe.unet.peft_config["default"].base_model_name_or_path = None
    for name, p in pipe.unet.named_parameters():
        if "magnitude" in name:
            p.data = p.data * (1 + random(*p.shape, std=0.4))
        elif "lora_" in name:
            p.data = random(*p.shape)
    StableDiffusionPipeline.save_lora_weights(OUT, get_peft_model_state_dict(pipe.unet), weight_name="peft-dora.safetensors",
                                              **_collate_lora_metadata({"unet": pipe.unet}))
    again = StableDiffusionPipeline.from_pretrained(HERE / "tiny-sd", safety_checker=None, torch_dtype=torch.float32)
    again.load_lora_weights(OUT / "peft-dora.safetensors")
    again.fuse_lora(components=["unet"])
    again.unload_lora_weights()
    return {f"unet.{k}": v for k, v in again.unet.state_dict().items()}


def main():
    torch.set_num_threads(1)
    plain = model()
    shapes = {k.removesuffix(".weight").split(".", 1)[1]: v.shape for k, v in plain.items() if k.endswith(".weight")}
    made = files(shapes)
    for name, layers in made.items():
        tensors = {f"{kohya(layer)}.{part}": t.contiguous() for layer, factors in layers.items() for part, t in factors.items()}
        save_file(tensors, OUT / f"{name}.safetensors")
    cases = {f"{name} {weight}": [(name, weight)] for name, weight in (
        ("loha", -0.6), ("lokr", 0.8), ("dora", 1.0), ("dora", -0.6), ("dora-columns", 0.7), ("whole", -0.5))}
    cases["together"] = [("dora", 0.7), ("loha", -0.5), ("whole", 0.3), ("dora-columns", 0.4)]
    merged = {name: merge(plain, [(made[file], w) for file, w in loras]) for name, loras in cases.items()}
    merged["saved"], merged["peft-dora"] = of_peft(), dora_of_peft()
    cases["saved"], cases["peft-dora"] = [("saved/adapter_model", 1.0)], [("peft-dora", 1.0)]
    tensors = {}
    for name, weights in merged.items():
        changed = [k for k, v in weights.items() if k in plain and (v - plain[k]).abs().max() > 1e-6]
        # Of peft's many layers some are enough.
        changed = [k for k in changed if name != "saved" or "conv_in" in k or "down_blocks.0.attentions.0." in k]
        print(f"{name:18} {len(changed)} tensors, largest change",
              max(((weights[k] - plain[k]).norm() / plain[k].norm()).item() for k in changed))
        tensors |= {f"{name}/{k}": weights[k].contiguous() for k in changed}
    save_file(tensors, OUT / "merged.safetensors", metadata={"cases": json.dumps(
        [dict(name=name, loras=[[f"{file}.safetensors", w] for file, w in loras]) for name, loras in cases.items()])})


if __name__ == "__main__":
    main()
