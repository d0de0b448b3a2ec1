"""Whether the program computes on this device what diffusers computes on a CPU.

The goldens in tests/goldens hold the latents of every step and some pictures. In f32 each latent may be off by 1e-4 of
the largest (tests/goldens/README.md), with TF32 switched off: it has ten bits where f32 has 23, and cuDNN uses it for
convolutions unless it is told not to. In half precision there is no such limit, and the picture counts.
"""
import json
import math

from . import tensors
from .work import ROOT, need

RUN = 1e-4
NO_TF32 = {"NVIDIA_TF32_OVERRIDE": "0"}
# What a picture in half precision is held to, in dB. On a CPU it has 56 and 41 at the least; much less is no matter of rounding.
FLOOR = {"f16": 40.0, "bf16": 30.0}


class Golden:
    """A file of goldens, and the model it was made with."""

    def __init__(self, name, model):
        self.name, self.model = name, model
        self.tensors, metadata = tensors.read(ROOT / f"tests/goldens/{name}.safetensors")
        self.prompts = json.loads(metadata["prompts"])
        # Where there is no picture in the file, runs from one begin from the mean of its posterior: not through the program.
        self.cases = [case for case in json.loads(metadata["cases"]) if "strength" not in case or "init" in self.tensors]


def goldens(check):
    tiny, tiny2 = check.tiny, str(ROOT / "tests/goldens/tiny-sd2")
    models = {"pocket": check.pocket, "tiny-sd": tiny, "tiny-sd2": tiny2, "img2img": tiny, "inpaint": tiny}
    return [Golden(name, model) for name, model in models.items()]


def words(check, golden, case, out, dtype):
    """The command line of a case."""
    prompt, negative = golden.prompts[case["prompt"]]
    height, width = case["hw"]
    line = ["trace", "--quiet", f"--prompt={prompt}", f"--negative-prompt={negative}", "--model", golden.model,
            "--device", check.device, "--dtype", dtype, "--seed", case["seed"], "--steps", case["steps"],
            "--guidance-scale", case["guidance"], "--width", width, "--height", height, "--scheduler", case["scheduler"],
            "--batch-size", case.get("batch", 1), "--record", "latents", "--decode", "final", "--no-report", "--out", out]
    if case.get("eta"):
        line += ["--eta", case["eta"]]
    if "strength" in case:
        line += ["--init-image", picture(check, golden, "init"), "--strength", case["strength"]]
    if case.get("mask"):
        line += ["--mask", picture(check, golden, "mask")]
    return line


def picture(check, golden, key):
    path = check.folder / f"{golden.name}-{key}.png"
    if not path.exists():
        beside = path.with_name(f".{path.name}.{id(golden)}")
        tensors.write_png(beside, golden.tensors[key])
        beside.replace(path)
    return path


def measure(golden, case, out):
    """How far a run is from its golden: its latents at every step, and its picture."""
    name, largest, step = case["name"], 0.0, 0
    while (key := f"run/{name}/latents/{step:03}") in golden.tensors:
        file = out / f"steps/{step:03}.safetensors"
        need(file.exists(), f"step {step} was not recorded")
        largest = max(largest, tensors.relative(tensors.read(file)[0]["latents"], golden.tensors[key]))
        step += 1
    need(step > 1 and not (out / f"steps/{step:03}.safetensors").exists(), f"the golden has {step} steps, the run has more")
    found = {"relative": largest, "steps": step - 1}
    image = golden.tensors.get(f"run/{name}/image")
    if image is not None:
        theirs = image.squeeze(0).double() * (1 if str(image.dtype) == "torch.uint8" else 255)
        ours = tensors.read_png(out / "final.png").double()
        found.update(levels=(ours - theirs).abs().max().item(), psnr=round(tensors.psnr(ours, theirs.round()), 2))
    return found


def one(part, golden, case, dtype, environment, limit):
    out = part.check.folder / "parity" / f"{golden.name}-{case['name']}-{dtype}-{'tf32' if environment is None else 'exact'}"
    part.sdviz(*words(part.check, golden, case, out, dtype), environment=environment)
    found = measure(golden, case, out)
    need(math.isfinite(found["relative"]), "something in it is not finite")
    limit(found)
    return found


def exact(found):
    need(found["relative"] <= RUN, f"the latents are off by {found['relative']:.1e}, allowed {RUN:.0e}")
    need(found.get("levels", 0) <= 1.01, f"the picture is off by {found.get('levels')} of 255 levels")


def turns(lists):
    """The first of each list, then the second of each, …"""
    for place in range(max(map(len, lists))):
        yield from (one_list[place] for one_list in lists if place < len(one_list))


def f32(part):
    """All cases in f32 without TF32, the ones that tell most first."""
    check = part.check
    lists = [[(golden, case) for case in golden.cases] for golden in goldens(check)]
    chosen = list(turns(lists))[:12 if check.quick else None]

    def work(golden, case):
        return lambda: one(part, golden, case, "f32", NO_TF32, exact)

    part.put("allowed", RUN)
    part.cases([(f"{golden.name}/{case['name']}", work(golden, case)) for golden, case in chosen], check.options.at_once)


def half(part):
    """The cases that have a picture in f16 and bf16, and in f32 as a GPU computes it when nobody asks for more."""
    check = part.check
    files = [golden for golden in goldens(check) if golden.name in ("pocket", "tiny-sd")]
    pairs = [(golden, case) for golden in files for case in golden.cases if f"run/{case['name']}/image" in golden.tensors]
    pairs = [pair for pair in pairs if pair[0].name == "pocket" or pair[1]["name"] in ("pndm-5", "euler_a-5")]

    def bright(dtype):
        def limit(found):
            floor = FLOOR.get(dtype, FLOOR["f16"])
            need(found.get("psnr", 99) >= floor, f"the picture has {found.get('psnr')} dB, at least {floor} are asked for")
        return limit

    def work(golden, case, dtype):
        return lambda: one(part, golden, case, dtype, None, bright(dtype))

    part.put("floor_db", FLOOR)
    part.cases([(f"{dtype}/{golden.name}/{case['name']}", work(golden, case, dtype))
                for golden, case in (pairs[:2] if check.quick else pairs) for dtype in ("f16", "bf16", "f32")],
               check.options.at_once)
