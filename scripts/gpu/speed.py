"""How fast the program is on this device, beside diffusers where that is installed, and how much memory both take.

The program's times are those of its record, `timings.stages`. The first steps also load and choose kernels, so a step is the
median of the times between the files of later ones. diffusers is measured by scripts/bench_diffusers.py.
"""
import importlib.util
import json
import statistics
import sys
import zipfile

from .features import full_model, merged
from .parity import NO_TF32
from .work import ROOT, Wrong, need

PROMPT = ["--prompt", "a red apple", "--seed", "1024", "--scheduler", "pndm"]
NOTHING = ["--record", "none", "--decode", "none"]
LATENTS = ["--record", "latents", "--decode", "none"]
# What is timed most finely is left alone.
UNWATCHED = ("latents", "one-row")
USUAL = ["--record", "latents,predicted_original", "--decode", "final"]
EVERYTHING = ["--record", "all", "--decode", "every"]


def run(part, model, dtype, name, words, environment=None):
    """Makes a run; its stages' seconds, the calls of the model, the process's time and memory."""
    check = part.check
    out = check.folder / "speed" / f"{dtype}-{name}"
    line = merged([*PROMPT, *words, *size(check)])
    done = part.sdviz("trace", "--quiet", *line, "--model", model, "--device", check.device, "--dtype", dtype, "--no-report",
                      "--force", "--out", out, environment=environment, watch=name not in UNWATCHED, limit=200)
    stages = {stage["name"]: stage for stage in json.loads((out / "run.json").read_text())["timings"]["stages"]}
    seconds = {name: stage["seconds"] for name, stage in stages.items()}
    loop = sum(value for name, value in seconds.items() if name not in ("load", "text"))
    return {"stages": seconds, "loop": loop, "calls": stages["unet"]["count"], "step": between(out),
            "decodes": stages.get("decode", {"count": 0})["count"], "process": done.seconds, "peak_bytes": done.memory}


def between(out):
    """Median seconds between the files of two steps, the first five left out; None where there are none."""
    times = sorted(file.stat().st_mtime_ns for file in (out / "steps").glob("*.safetensors"))[5:]
    return statistics.median(b - a for a, b in zip(times, times[1:])) / 1e9 if len(times) > 2 else None


def size(check):
    return ["--width", "64", "--height", "64"] if check.quick else []


def steps(check):
    return 12 if check.quick else 50


def ours(part, model, dtype, environment=None, ending=""):
    long = steps(part.check)
    made = lambda name, words: run(part, model, dtype, name, [*words, "--steps", long], environment)  # noqa: E731
    # Half the work a step: where that is no quicker, the device waits for its host.
    found = {"latents": made("latents", LATENTS), "one row": made("one-row", [*LATENTS, "--guidance-scale", 1])}
    found["step"] = found["latents"]["step"]
    part.put(f"sdviz, {dtype}{ending}", found)  # what is known so far, should the time be over
    if ending:
        return found
    found.update({name: made(name, words) for name, words in (("nothing", NOTHING), ("usual", USUAL), ("everything", EVERYTHING))})
    found["decode"] = found["everything"]["stages"]["decode"] / found["everything"]["decodes"]
    found["recording"] = found["usual"]["loop"] - found["usual"]["stages"].get("decode", 0) - found["nothing"]["loop"]
    part.put(f"sdviz, {dtype}", found)
    return found


def theirs(part, model, dtype):
    check = part.check
    sized = [word for word in size(check)]
    done = part.run([sys.executable, ROOT / "scripts/bench_diffusers.py", "--model", model, "--dtype", dtype, "--device",
                     check.device, "--steps", steps(check), "--repeat", 2 if not check.quick else 1, *sized],
                    watch=True, limit=200, environment=diffusers_folder(check))
    found = json.loads(done.out)
    kept = {key: found[key]["median"] for key in ("load", "text", "step", "decode")}
    kept.update(peak_bytes=done.memory, allocated=found.get("peak_allocated"), versions=found["versions"])
    part.put(f"diffusers, {dtype}", kept)
    return kept


def diffusers_folder(check):
    """Where diffusers is, if it was brought along and is not installed."""
    brought, beside = ROOT / "bin/diffusers.whl", check.folder / "python"
    if importlib.util.find_spec("diffusers") is not None or not brought.exists():
        return {}
    if not beside.is_dir():
        with zipfile.ZipFile(brought) as files:
            files.extractall(beside)
    return {"PYTHONPATH": f"{beside}:{check.environment['PYTHONPATH']}"}


def has_diffusers(part):
    if importlib.util.find_spec("diffusers") is None and not diffusers_folder(part.check):
        return "diffusers is not installed"
    try:
        part.run([sys.executable, "-c", "from diffusers import StableDiffusionPipeline"], environment=diffusers_folder(part.check))
    except Wrong as wrong:
        return f"diffusers cannot be imported: {wrong}"
    return None


def beside(part):
    """Both in turn, in each precision, with the full-size model (or the narrow one of --quick)."""
    check = part.check
    model = full_model(part)
    lacking = has_diffusers(part)
    part.put("diffusers", lacking or "measured beside")
    if lacking:
        print(f"  speed: {lacking}: nothing to set beside", flush=True)

    def both(dtype):
        need(model, "there is no model to measure: it was not made")
        found = {"sdviz": ours(part, str(model), dtype)}
        if not lacking:
            found["diffusers"] = theirs(part, model, dtype)
            found["ratio"] = {key: found["sdviz"][key] / found["diffusers"][key] for key in ("step", "decode")}
        short = {tool: {key: found[tool][key] for key in ("step", "decode")} for tool in found if tool != "ratio"}
        return {**short, "ratio": found.get("ratio")}

    for dtype in ("bf16", "f32") if check.quick else ("f16", "bf16", "f32"):
        part.case(dtype, lambda dtype=dtype: both(dtype))
    if check.device.startswith("cuda"):
        part.case("f32 without TF32", lambda: {"step": ours(part, str(model), "f32", NO_TF32, ", exact")["step"]})
        part.case("memory layouts", lambda: json.loads(part.run([sys.executable, ROOT / "scripts/gpu/layouts.py"]).out))


def pocket(part):
    """The embedded model: what a class sees."""
    for dtype in ("f16", "f32"):
        part.case(dtype, lambda dtype=dtype: {"step": ours(part, part.check.pocket, dtype, ending=", pocket")["step"]})
