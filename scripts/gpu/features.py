"""Whether everything that a run can do is done on this device too, and comes to the same as on the CPU.

Each case is run in f32 on the CPU and on the device, and every tensor that the two recorded is compared: latents,
predictions, sites of layers, attention. The two round differently, and several steps carry that on: 1e-3 of a tensor's
largest number is allowed (a wrong row, mask or layout is off by a hundred times as much), twice as much of attention,
which is recorded in f16, and 1e-2 where a picture of 8 bits lies between.
"""
import json
import os
import sys

import torch

from . import tensors
from .parity import NO_TF32
from .work import ROOT, need

ALLOWED = {"numbers": 1e-3, "attention": 2e-3, "after a picture": 1e-2}
AFTER_A_PICTURE = "second pass, picture"
LORA = ROOT / "tests/goldens/lora"
ALL = ["--record", "all", "--decode", "every", "--decode-what", "latents,predicted_original", "--blocks",
       "--sites", "unet.mid_block,unet.up_blocks.*.resnets.*,unet.**.attn2", "--sites-branches", "both", "--sites-dtype", "f32",
       "--attention", "heads-per-step,self", "--attention-branches", "--query", "0.5,0.5"]
BASE = ["--prompt", "a red apple", "--steps", "5", "--scheduler", "ddim", "--seed", "3"]


def cases(check):
    """Name, what it goes on from, command line. `{name}` is the folder of the run of that name on the same device."""
    few = ["--record", "latents,noise_guided", "--decode", "final"]
    tiny = {
        "everything": [*BASE, *ALL],
        "batch, not square": [*BASE, *ALL, "--batch-size", "2", "--width", "96", "--height", "64"],
        "noise in every step": [*BASE, *few, "--scheduler", "euler_a", "--batch-size", "2"],
        "DDIM's eta": [*BASE, *few, "--eta", "0.8"],
        "second pass, latents": [*BASE, *ALL, "--hires", "2"],
        AFTER_A_PICTURE: [*BASE, *few, "--hires", "1.5", "--hires-upscaler", "lanczos"],
        "tiles": [*BASE, *few, "--vae-tiling", "on", "--width", "160", "--height", "96"],
        "LoRA": [*BASE, *few, "--lora", f"{LORA}/kohya.safetensors:0.8"],
        "embedding": [*BASE, *few, "--embedding", f"my-thing={LORA}/embedding.safetensors", "--prompt", "a my-thing"],
        "from a picture": [*BASE, *few, "--init-image", "{picture}", "--strength", "0.6"],
        "with a mask": [*BASE, *few, "--init-image", "{picture}", "--mask", "{mask}", "--paste"],
        "weights and AND": [*BASE, *few, "--prompt-syntax", "a1111", "--prompt", "a (red:1.4) apple AND a [cat:dog:0.5] :0.6"],
        "edits of layers": [*BASE, *few, "--edit", "zero unet.mid_block steps=1-2", "--edit", "noise up.1 std=0.2 seed=4",
                            "--edit", "permute down.0 seed=2 area=0,0,0.5,0.5", "--edit", "freeu b1=1.2 b2=1.1 s1=0.9 s2=0.5"],
        "edits of attention": [*BASE, *ALL, "--edit", "weigh **.attn2 words=red by=3", "--edit", "uniform mid.**.attn1 steps=2",
                               "--edit", "prompt down.1 text='a banana'", "--edit", "set guidance_scale by=2 steps=4-5"],
        "donor, prompt-to-prompt": ["--donor", "{everything}", "--p2p", "--p2p-blend", "apple", *BASE, *few, "--prompt",
                                    "a green apple"],
        "donor, Plug-and-Play": ["--donor", "{everything}", "--pnp", *BASE, *few, "--prompt", "a red heart"],
        "donor, MasaCtrl": ["--donor", "{everything}", "--masactrl", *BASE, *few, "--prompt", "a red car"],
        "branch": ["--branch", "{everything}@3", "--prompt", "a banana", *few],
        "goes on with a memory": ["--branch", "{multistep}@3", *few],
        "multistep": [*BASE, *few, "--scheduler", "dpmpp_2m"],
    }
    pocket = {"everything": [*BASE, *ALL], "tiles": [*BASE, *few, "--vae-tiling", "on", "--width", "192", "--height", "160"],
              "second pass, latents": [*BASE, *few, "--hires", "1.5"]}
    named = [(f"tiny/{name}", check.tiny, words) for name, words in tiny.items()]
    return named + [(f"pocket/{name}", check.pocket, words) for name, words in pocket.items()]


def folder(check, side, name):
    return check.folder / "features" / side / name.replace(" ", "-").replace(",", "").replace("'", "").replace("/", "-")


def fill(check, side, words):
    """Puts folders in the place of names in braces."""
    pictures = {"picture": check.folder / "start.png", "mask": check.folder / "start-mask.png"}

    def one(word):
        begin, end = word.find("{"), word.find("}")
        if begin < 0:
            return word
        name = word[begin + 1:end]
        return word[:begin] + str(pictures.get(name, folder(check, side, f"tiny/{name}"))) + word[end + 1:]

    return [one(str(word)) for word in words]


REPEATED = ("--edit", "--lora", "--embedding", "--donor", "--query")


def merged(words):
    """A command line in which a flag that comes again counts as it comes last, but for those that add up."""
    flags = []
    for word in map(str, words):
        if word.startswith("--"):
            flags = [flag for flag in flags if flag[0] != word or word in REPEATED]
            flags.append([word])
        else:
            flags[-1].append(word)
    return [word for flag in flags for word in flag]


def trace(part, side, name, model, words, dtype="f32", **more):
    """Makes a run on one side, `cpu` or `device`."""
    check = part.check
    device = "cpu" if side == "cpu" else check.device
    out = folder(check, side, name)
    # Several small runs share the cores; the large one has them for itself.
    threads = os.cpu_count() if name.startswith("full/") else max(1, os.cpu_count() // check.options.at_once)
    environment = {**NO_TF32, **({"OMP_NUM_THREADS": str(threads)} if side == "cpu" else {})}
    done = part.sdviz("trace", "--quiet", *fill(check, side, merged(words)), "--model", model, "--device", device, "--dtype", dtype,
                      "--no-report", "--out", out, environment=environment, **more)
    return out, done


def compared(part, name, model, words):
    both = [trace(part, side, name, model, words)[0] for side in ("cpu", "device")]
    found, missing = tensors.apart(both[1], both[0])
    need(not missing, f"only one of the two has {missing[:3]}")
    need("steps" in found, "nothing was recorded")
    figures = {"relative": found, "psnr": round(tensors.psnr(*(tensors.read_png(out / "final.png") for out in both)), 2)}
    blocks = [out / "blocks.jsonl" for out in both]
    if blocks[0].exists():
        figures["blocks"] = rows_apart(*blocks)
        need(figures["blocks"] <= 1e-2, f"blocks.jsonl is off by {figures['blocks']:.1e}")
    for kind, value in found.items():
        most = ALLOWED["after a picture" if AFTER_A_PICTURE in name else "attention" if kind.startswith("attention") else "numbers"]
        need(value <= most, f"{kind} is off by {value:.1e}, allowed {most:.0e}: {found}")
    return figures


def rows_apart(ours, golden):
    """How far the numbers of two logs of layers are apart."""
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (ours, golden)]
    need(len(rows[0]) == len(rows[1]), "the logs of layers have not as many rows")
    keys = ("rms_in", "rms_out", "rms_update")
    return max(abs(a[key] - b[key]) / max(abs(b[key]), 1e-6) for a, b in zip(*rows) for key in keys)


def same(part):
    """Every feature, on both sides."""
    check = part.check
    torch.manual_seed(5)
    patches = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4), size=(64, 64))[0]
    tensors.write_png(check.folder / "start.png", (patches.permute(1, 2, 0) * 255).byte())
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[:, 32:] = 255
    tensors.write_png(check.folder / "start-mask.png", mask)
    part.put("allowed", ALLOWED)
    every = [(name, (lambda n=name, m=model, w=words: compared(part, n, m, w)), words) for name, model, words in cases(check)]
    goes_on = [case for case in every if any("{everything}" in str(w) or "{multistep}" in str(w) for w in case[2])]
    part.cases([case[:2] for case in every if case not in goes_on], check.options.at_once)
    part.cases([case[:2] for case in goes_on], check.options.at_once)


def halves(part):
    """Everything at once in half precision: it ends well, and each step is there."""
    def one(model, name, dtype):
        out, _ = trace(part, "device", f"{name}-{dtype}", model, [*BASE, *ALL, "--sites-dtype", "f16"], dtype)
        return {"files": sum(1 for _ in out.rglob("*.safetensors"))}

    models = {"tiny": part.check.tiny, "pocket": part.check.pocket}
    part.cases([(f"{dtype}/{name}", lambda m=model, n=name, d=dtype: one(m, n, d))
                for name, model in models.items() for dtype in ("f16", "bf16")], part.check.options.at_once)


def full_model(part):
    """A v1-4 of full size (with --quick a narrow one) with random weights, made here unless it is there; None if it failed."""
    check = part.check
    model, more = check.folder / "full-size", ["--narrow"] if check.quick else []
    if not model.exists():
        line = [sys.executable, ROOT / "scripts/gpu/random_model.py", model, "--device", check.device, *more]
        part.case("made", lambda: part.run(line) and None)
    return model if (model / "vae/diffusion_pytorch_model.safetensors").exists() else None


def full_size(part):
    """The full-size model with everything on."""
    check = part.check
    model = full_model(part)
    if model is None:
        return
    size = ["--width", "64", "--height", "64", "--steps", "2"] if check.quick else []

    def run(dtype, words, ending=""):
        done = trace(part, "device", f"full-{dtype}{ending}", model, [*BASE, "--steps", "4", *words, *size], dtype, watch=True)[1]
        return {"peak_bytes": done.memory}

    quiet = ["--record", "latents", "--decode", "final"]
    everything = [*ALL, "--sites-dtype", "f16"]
    part.case("f16, everything", lambda: run("f16", everything))
    part.case("f32 beside the CPU", lambda: compared(part, "full/two steps", str(model), [*BASE, "--steps", "2", *quiet, *size]))
    part.case("bf16, everything", lambda: run("bf16", everything))
    part.case("f16, second pass in tiles", lambda: run("f16", [*quiet, "--hires", "2", "--vae-tiling", "on"], "-hires"))
