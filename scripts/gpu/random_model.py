"""Writes a Stable Diffusion v1 with random weights, of full size or a narrow one, with torch alone.

    python3 scripts/gpu/random_model.py FOLDER [--narrow] [--device cuda] [--dtype f16]

The names and shapes are diffusers' for v1-4's configuration, the weights PyTorch's own initialisation with a fixed seed: every
layer does the work that it does in the real model, and the pictures are noise. `scripts/make_full_size.py` does the same by
diffusers itself, which not every machine has. Tokenizer and scheduler are those of tests/goldens/tiny-sd.
"""
import argparse
import json
import math
import pathlib
import shutil
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from gpu.tensors import write  # noqa: E402

TINY = pathlib.Path(__file__).resolve().parents[2] / "tests/goldens/tiny-sd"
SEED = 1404
FULL = {"unet": (320, 640, 1280, 1280), "vae": (128, 256, 512, 512), "text": (768, 3072, 12, 12), "vocabulary": 49408}
NARROW = {"unet": (32, 64, 96, 96), "vae": (32, 32, 64, 64), "text": (64, 128, 4, 2), "vocabulary": 49408}


class Shapes(dict):
    """Names and shapes, layer by layer."""

    def norm(self, name, width):
        self[f"{name}.weight"], self[f"{name}.bias"] = (width,), (width,)

    def linear(self, name, inside, out, bias=True):
        self[f"{name}.weight"] = (out, inside)
        if bias:
            self[f"{name}.bias"] = (out,)

    def conv(self, name, inside, out, side=3):
        self[f"{name}.weight"], self[f"{name}.bias"] = (out, inside, side, side), (out,)

    def resnet(self, name, inside, out, time=None):
        self.norm(f"{name}.norm1", inside)
        self.conv(f"{name}.conv1", inside, out)
        if time:
            self.linear(f"{name}.time_emb_proj", time, out)
        self.norm(f"{name}.norm2", out)
        self.conv(f"{name}.conv2", out, out)
        if inside != out:
            self.conv(f"{name}.conv_shortcut", inside, out, 1)

    def transformer(self, name, width, context):
        self.norm(f"{name}.norm", width)
        self.conv(f"{name}.proj_in", width, width, 1)
        block = f"{name}.transformer_blocks.0"
        for attention, looked_at in (("attn1", width), ("attn2", context)):
            self.linear(f"{block}.{attention}.to_q", width, width, False)
            self.linear(f"{block}.{attention}.to_k", looked_at, width, False)
            self.linear(f"{block}.{attention}.to_v", looked_at, width, False)
            self.linear(f"{block}.{attention}.to_out.0", width, width)
        self.linear(f"{block}.ff.net.0.proj", width, 8 * width)
        self.linear(f"{block}.ff.net.2", 4 * width, width)
        for norm in ("norm1", "norm2", "norm3"):
            self.norm(f"{block}.{norm}", width)
        self.conv(f"{name}.proj_out", width, width, 1)


def unet(widths, context):
    shapes, time, last = Shapes(), 4 * widths[0], len(widths) - 1
    shapes.conv("conv_in", 4, widths[0])
    shapes.linear("time_embedding.linear_1", widths[0], time)
    shapes.linear("time_embedding.linear_2", time, time)
    inside = widths[0]
    for i, out in enumerate(widths):
        for j in range(2):
            shapes.resnet(f"down_blocks.{i}.resnets.{j}", inside if j == 0 else out, out, time)
            if i < last:
                shapes.transformer(f"down_blocks.{i}.attentions.{j}", out, context)
        if i < last:
            shapes.conv(f"down_blocks.{i}.downsamplers.0.conv", out, out)
        inside = out
    for j in range(2):
        shapes.resnet(f"mid_block.resnets.{j}", inside, inside, time)
    shapes.transformer("mid_block.attentions.0", inside, context)
    for i in range(len(widths)):
        out, below = widths[last - i], widths[max(last - i - 1, 0)]
        for j in range(3):
            skip = below if j == 2 else out
            shapes.resnet(f"up_blocks.{i}.resnets.{j}", (inside if j == 0 else out) + skip, out, time)
            if i > 0:
                shapes.transformer(f"up_blocks.{i}.attentions.{j}", out, context)
        if i < last:
            shapes.conv(f"up_blocks.{i}.upsamplers.0.conv", out, out)
        inside = out
    shapes.norm("conv_norm_out", widths[0])
    shapes.conv("conv_out", widths[0], 4)
    return shapes


def vae(widths):
    shapes, last = Shapes(), widths[-1]
    for half, blocks, layers, begin, end in (("encoder", widths, 2, 3, 8), ("decoder", widths[::-1], 3, 4, 3)):
        list_name, change = ("down_blocks", "downsamplers") if half == "encoder" else ("up_blocks", "upsamplers")
        shapes.conv(f"{half}.conv_in", begin, blocks[0])
        inside = blocks[0]
        for i, out in enumerate(blocks):
            for j in range(layers):
                shapes.resnet(f"{half}.{list_name}.{i}.resnets.{j}", inside if j == 0 else out, out)
            if i < len(blocks) - 1:
                shapes.conv(f"{half}.{list_name}.{i}.{change}.0.conv", out, out)
            inside = out
        for j in range(2):
            shapes.resnet(f"{half}.mid_block.resnets.{j}", last, last)
        attention = f"{half}.mid_block.attentions.0"
        shapes.norm(f"{attention}.group_norm", last)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes.linear(f"{attention}.{name}", last, last)
        shapes.norm(f"{half}.conv_norm_out", inside)
        shapes.conv(f"{half}.conv_out", inside, end)
    shapes.conv("quant_conv", 8, 8, 1)
    shapes.conv("post_quant_conv", 4, 4, 1)
    return shapes


def text_encoder(width, inner, _, layers, vocabulary):
    shapes = Shapes()
    shapes["embeddings.token_embedding.weight"] = (vocabulary, width)
    shapes["embeddings.position_embedding.weight"] = (77, width)
    for i in range(layers):
        at = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes.linear(f"{at}.self_attn.{name}", width, width)
        shapes.linear(f"{at}.mlp.fc1", width, inner)
        shapes.linear(f"{at}.mlp.fc2", inner, width)
        shapes.norm(f"{at}.layer_norm1", width)
        shapes.norm(f"{at}.layer_norm2", width)
    shapes.norm("final_layer_norm", width)
    return Shapes({f"text_model.{name}": shape for name, shape in shapes.items()})


def components(sizes):
    """Each component's shapes and what its configuration has that tiny-sd's has otherwise."""
    width, inner, heads, layers = sizes["text"]
    groups = 32 if sizes["unet"][0] % 32 == 0 else 4
    return {
        "unet": (unet(sizes["unet"], width), {
            "block_out_channels": sizes["unet"], "cross_attention_dim": width, "attention_head_dim": 8, "sample_size": 64,
            "norm_num_groups": groups}),
        # Half precision does not overflow with such weights: the autoencoder computes in what the UNet computes in.
        "vae": (vae(sizes["vae"]), {"block_out_channels": sizes["vae"], "sample_size": 512, "norm_num_groups": groups,
                                    "force_upcast": False}),
        "text_encoder": (text_encoder(*sizes["text"], sizes["vocabulary"]), {
            "hidden_size": width, "intermediate_size": inner, "num_attention_heads": heads, "num_hidden_layers": layers,
            "vocab_size": sizes["vocabulary"]}),
    }


def initialised(shapes, device):
    """PyTorch's own: uniform in ±1/√inputs for weights and biases, norms that change nothing, embeddings of 0.02."""
    torch.manual_seed(SEED)

    def make(name, shape):
        if "norm" in name:
            return torch.ones(shape, device=device) if name.endswith("weight") else torch.zeros(shape, device=device)
        if "embedding.weight" in name:
            return torch.randn(shape, device=device) * 0.02
        weight = shapes[name.removesuffix("bias") + "weight"] if name.endswith("bias") else shape
        bound = 1 / math.sqrt(math.prod(weight[1:]))
        return torch.empty(shape, device=device).uniform_(-bound, bound)

    return make


def build(folder, sizes, device="cpu", dtype=torch.float16):
    """Writes the model in diffusers' layout."""
    folder = pathlib.Path(folder)
    for component, (shapes, changes) in components(sizes).items():
        (folder / component).mkdir(parents=True)
        config = json.loads((TINY / component / "config.json").read_text())
        (folder / component / "config.json").write_text(json.dumps({**config, **changes}, indent=1))
        name = "model.safetensors" if component == "text_encoder" else "diffusion_pytorch_model.safetensors"
        write(folder / component / name, shapes, dtype, initialised(shapes, device))
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(TINY / name, folder / name, copy_function=shutil.copyfile)
    shutil.copyfile(TINY / "model_index.json", folder / "model_index.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="where to write it; must not exist yet")
    parser.add_argument("--narrow", action="store_true", help="the same layers with few channels: 20 MB")
    parser.add_argument("--device", default="cpu", help="where the random numbers are drawn")
    parser.add_argument("--dtype", choices=["f16", "f32"], default="f16")
    options = parser.parse_args()
    if options.folder.exists():
        sys.exit(f"error: `{options.folder}` exists already\nhint: name another folder, or remove it first")
    dtype = {"f16": torch.float16, "f32": torch.float32}[options.dtype]
    build(options.folder, NARROW if options.narrow else FULL, options.device, dtype)


if __name__ == "__main__":
    main()
