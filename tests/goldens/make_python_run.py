"""A run of diffusers' own pipeline, recorded by python/sdviz_trace.py, for the test that sdviz reads and equals it.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
    python make_python_run.py              # writes python_run/
    python make_python_run.py --check      # makes it anew beside, and compares; tries what the recorder promises, too

The noise is `torch.Generator("cpu").manual_seed(7)`, as sdviz draws it, so `sdviz trace --model tiny-sd --seed 7 …` with the
settings below is the same run.
"""
import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

import numpy
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler,
                       StableDiffusionImg2ImgPipeline, StableDiffusionPipeline)
from PIL import Image
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "python"))
import sdviz_rerun  # noqa: E402
import sdviz_trace  # noqa: E402

SETTINGS = dict(negative_prompt="Sunshine", num_inference_steps=4, guidance_scale=3.0, height=64, width=96)


def pipeline(kind=StableDiffusionPipeline, scheduler=DDIMScheduler):
    pipe = kind.from_pretrained("tiny-sd", safety_checker=None, torch_dtype=torch.float32)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make(out):
    pipe = pipeline()
    with sdviz_trace.record(pipe, out, seed=7, force=True):
        pipe("a lovely cat", **SETTINGS)
    # What differs with every run and every machine.
    path = out / "run.json"
    record = json.loads(path.read_text())
    record["timings"] = {}
    record["environment"]["threads"] = 1
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def close(a, b, tolerance=1e-5):
    assert numpy.abs(a - b).max() <= tolerance * max(numpy.abs(a).max(), 1e-6), (a, b)


def check(folder):
    make(folder / "run")
    for step in sorted((HERE / "python_run/steps").glob("*.safetensors")):
        ours, theirs = load_file(folder / "run/steps" / step.name), load_file(step)
        assert ours.keys() == theirs.keys()
        [close(ours[key], theirs[key]) for key in ours]
    promises(folder)
    rerun_is_shown(folder)
    print("the committed run is what the recipe makes, and recorder and rerun's part keep their promises")


def promises(folder):
    """The picture is the same as without; callbacks are called; a batch, img2img, other schedulers, refusals, stops."""
    pipe = pipeline()
    seeded = lambda: torch.Generator().manual_seed(3)
    plain = pipe("a cat", num_inference_steps=3, generator=seeded(), **SIZE).images[0]
    called = []

    def mine(pipe, step, timestep, tensors):
        called.append(step)
        return {"latents": tensors["latents"] * 1.0}

    with sdviz_trace.record(pipe, folder / "same") as rec:
        traced = pipe("a cat", num_inference_steps=3, generator=seeded(), callback_on_step_end=mine, **SIZE).images[0]
        pipe("a cat", num_inference_steps=2, guidance_scale=1.0, generator=seeded(), **SIZE)
    assert numpy.array_equal(plain, traced) and called == [0, 1, 2], called
    assert [f.name for f in rec.folders] == ["same", "same-2"]
    assert "noise_uncond" not in load_file(folder / "same-2/steps/001.safetensors")
    assert type(pipe) is StableDiffusionPipeline and "step" not in pipe.scheduler.__dict__
    assert numpy.array_equal(Image.open(folder / "same/final.png"), traced)
    assert numpy.array_equal(pipe("a cat", num_inference_steps=3, generator=seeded(), **SIZE).images[0], plain)

    for kind in (EulerDiscreteScheduler, HeunDiscreteScheduler, DPMSolverMultistepScheduler):
        pipe = pipeline(scheduler=kind)
        with sdviz_trace.record(pipe, folder / kind.__name__, seed=5, decode="final"):
            pipe("a cat", num_inference_steps=3, num_images_per_prompt=2, **SIZE)
        record = json.loads((folder / kind.__name__ / "run.json").read_text())
        assert record["plan"]["batch_size"] == 2 and record["made_by"]["seeds"] == [5, 6]
        assert (folder / kind.__name__ / "final-b1.png").is_file() and record["status"] == "complete"

    pipe = pipeline(StableDiffusionImg2ImgPipeline)
    with sdviz_trace.record(pipe, folder / "img2img", seed=5, decode=2):
        pipe("a cat", image=plain, strength=0.5, num_inference_steps=6)
    record = json.loads((folder / "img2img/run.json").read_text())
    assert record["begin"]["first_call"] == 3 and len(record["schedule"]) == 4 and (folder / "img2img/init.png").is_file()

    def stop(pipe, step, timestep, tensors):
        if step == 1:
            raise KeyboardInterrupt
        return {}

    try:
        with sdviz_trace.record(pipe := pipeline(), folder / "stopped", seed=5):
            pipe("a cat", num_inference_steps=4, callback_on_step_end=stop, **SIZE)
    except KeyboardInterrupt:
        pass
    record = json.loads((folder / "stopped/run.json").read_text())
    assert (folder / "stopped/shapes.jsonl").is_file()
    assert record["status"] == "failed" and (folder / "stopped/steps/001.safetensors").is_file(), record["status"]
    assert not (folder / "stopped/.lock").exists() and "step" not in pipe.scheduler.__dict__

    for wrong in (lambda: sdviz_trace.record(pipe, folder / "x", keep=("x0",)), lambda: sdviz_trace.record(pipe, decode="all"),
                  lambda: sdviz_trace.record(torch.nn.Identity())):
        try:
            wrong()
        except ValueError:
            continue
        raise AssertionError("this should have been refused")


def rerun_is_shown(folder):
    """What sdviz_rerun shows of a run is what is there, without rerun: of the committed run, a batch, one that was stopped."""
    for name, batch in ((HERE / "python_run", 0), ("EulerDiscreteScheduler", 1), ("stopped", 0)):
        run = sdviz_rerun.Run(folder / name)
        shown = list(sdviz_rerun.items(run, batch))
        count = lambda entity: sum(item[1] == entity for item in shown)
        for step, entity, kind, value in shown:
            group, _, what = entity.partition("/")
            if group in ("tensor", "norm"):
                tensor = load_file(run.folder / f"steps/{step:03}.safetensors")[what][batch]
                numpy.testing.assert_array_equal(value, tensor) if kind == "tensor" else close(value, numpy.linalg.norm(tensor.astype(float)))
            elif kind == "png" and what != "final":
                ending = ("-x0" if what == "predicted_original" else "") + sdviz_rerun.suffix(batch)
                assert value == (run.folder / f"steps/{step:03}{ending}.png").read_bytes()
        assert count("tensor/latents") == len(run.steps) == count("distance/latents"), run.steps
        assert count("guidance/difference") == len(run.steps) - 1 and count("prompt") == 1
        assert count("picture/final") == (run.record["status"] == "complete")
        last = [value for step, entity, _, value in shown if entity == "distance/latents" and step == run.steps[-1]]
        assert last == [0.0]
    assert "rerun" not in sys.modules
    for wrong in (lambda: sdviz_rerun.Run(folder), lambda: next(sdviz_rerun.items(run, 7))):
        try:
            wrong()
        except ValueError:
            continue
        raise AssertionError("this should have been refused")


SIZE = dict(height=64, width=64)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with what is there")
    parser.add_argument("--keep", type=pathlib.Path, help="where --check leaves its runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.keep = options.keep and options.keep.absolute()
    os.chdir(HERE)  # the run says `tiny-sd`, and no path of this machine
    if not options.check:
        shutil.rmtree(HERE / "python_run", ignore_errors=True)
        make(HERE / "python_run")
    elif options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        check(options.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            check(pathlib.Path(folder))
