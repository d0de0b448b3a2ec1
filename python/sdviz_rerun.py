# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy", "rerun-sdk==0.41.0"]
# ///
"""A run directory of `sdviz` as a recording for rerun (https://rerun.io).

    python sdviz_rerun.py run                    # writes run/exports/run.rrd
    rerun run/exports/run.rrd

Enters: a run directory, as docs/run-format.md describes it, whatever state it is in. Leaves: an .rrd file with a timeline
`step`: recorded tensors as tensors, decoded pictures, numbers of each step, the prompt and settings as text. Written with
rerun-sdk 0.41.0; `Run` and `items` need numpy alone. One file, so that it can be copied into a project.
"""
import argparse
import hashlib
import json
import pathlib
import struct
import sys

import numpy

RERUN = "0.41.0"
TENSORS = ("latents", "noise_uncond", "noise_text", "noise_guided", "predicted_original")
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


class Run:
    """A run directory. `record` is run.json, `steps` the numbers of the steps that are whole."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        try:
            self.record = json.loads((self.folder / "run.json").read_text("utf-8"))
        except FileNotFoundError:
            raise ValueError(f"`{folder}` is not a run directory: it has no run.json") from None
        if self.record["schema_version"] > 1:
            raise ValueError(f"`{folder}` has schema version {self.record['schema_version']}, and 1 is read here")
        files = (self.folder / "steps").glob("*.safetensors")
        self.steps = sorted(int(file.stem) for file in files if file.stem.isdecimal())

    @property
    def batch_size(self):
        return self.record["plan"].get("batch_size", 1)

    def level(self, step):
        """The noise level of the latents after a step: timestep, sigma, alpha_cumprod, latent_scale; None if the record has none."""
        schedule = self.record.get("schedule", [])
        return schedule[step] if step < len(schedule) else None

    def tensors(self, step):
        """The tensors of a step, `[batch, channels, height/8, width/8]` each."""
        return load_safetensors(self.folder / f"steps/{step:03}.safetensors")

    def picture(self, step, what="latents", batch=0):
        """The PNG of a step, or None."""
        ending = "-x0" if what == "predicted_original" else ""
        return self._bytes(f"steps/{step:03}{ending}{suffix(batch)}.png")

    def final(self, batch=0):
        """The PNG of the finished picture, or None."""
        return self._bytes(f"final{suffix(batch)}.png")

    def _bytes(self, name):
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None


def suffix(batch):
    return f"-b{batch}" if batch else ""


def load_safetensors(path):
    """Names and arrays of a safetensors file: a length, a JSON head of that length, the numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head, body, found = json.loads(data[8:8 + length]), memoryview(data)[8 + length:], {}
    for name, about in head.items():
        if name == "__metadata__" or about["dtype"] not in DTYPES:
            continue
        begin, end = about["data_offsets"]
        found[name] = numpy.frombuffer(body[begin:end], DTYPES[about["dtype"]]).reshape(about["shape"])
    return found


def norm(array):
    return float(numpy.linalg.norm(array.astype(numpy.float64).ravel()))


def items(run, batch=0):
    """What is shown of picture `batch`: `(step, entity, kind, value)`, step None for what belongs to no step. A value is a
    text, a number, an array `[channels, height, width]` or the bytes of a PNG, as `kind` says: text, scalar, tensor, png.

    The numbers are those of `sdviz plot`: norms are Euclidean, the distance is the root mean square distance to the last
    latents, both divided by latent_scale.
    """
    if batch >= run.batch_size:
        raise ValueError(f"the batch has no picture {batch}: `{run.folder}` made {run.batch_size}")
    plan, last = run.record["plan"], run.steps[-1] if run.steps else 0
    yield None, "prompt", "text", plan["prompt"]
    settings = {"negative prompt": plan["negative_prompt"], "seed": plan["seed"] + batch, "guidance scale": plan["guidance_scale"],
                "scheduler": plan["scheduler"], "steps": plan["steps"], "model": run.record.get("model", {}).get("id", ""),
                "status": run.record["status"]}
    yield None, "settings", "text", "\n".join(f"- {name}: {value}" for name, value in settings.items())
    for step, level in enumerate(run.record.get("schedule", [])):
        for name in ("sigma", "alpha_cumprod", "timestep"):
            if level[name] is not None:  # no call of the model follows the last step
                yield step, f"schedule/{name}", "scalar", level[name]
    end = run.tensors(last).get("latents") if run.steps and run.level(last) else None
    for step in run.steps:
        tensors = {name: array[batch] for name, array in run.tensors(step).items() if name in TENSORS}
        for name, array in tensors.items():
            yield step, f"tensor/{name}", "tensor", array
            yield step, f"norm/{name}", "scalar", norm(array)
        if "noise_text" in tensors and "noise_uncond" in tensors:
            difference = tensors["noise_text"].astype(numpy.float64) - tensors["noise_uncond"]
            yield step, "guidance/difference", "scalar", norm(difference)
        if "latents" in tensors and end is not None and run.level(step) and end[batch].shape == tensors["latents"].shape:
            scaled = [array.astype(numpy.float64) / run.level(k)["latent_scale"] for array, k in
                      ((tensors["latents"], step), (end[batch], last))]
            yield step, "distance/latents", "scalar", norm(scaled[0] - scaled[1]) / scaled[0].size ** 0.5
        for what in ("latents", "predicted_original"):
            picture = run.picture(step, what, batch)
            if picture is not None:
                yield step, f"picture/{what}", "png", picture
    final = run.final(batch)
    if final is not None:
        yield last, "picture/final", "png", final


def write(run, out, batch=0):
    """Writes the recording."""
    import rerun
    import rerun.blueprint as view

    # The same run has the same name: opened again, it takes its own place.
    name = hashlib.sha256(f"{batch} {json.dumps(run.record, sort_keys=True)}".encode()).hexdigest()[:16]
    recording = rerun.RecordingStream("sdviz", recording_id=f"sdviz-{name}")
    recording.set_log_time_enabled(False)
    recording.set_log_tick_enabled(False)
    recording.send_recording_name(run.record["plan"]["prompt"][:60] or run.folder.name)
    recording.save(out, default_blueprint=view.Blueprint(view.Vertical(
        view.Horizontal(*(view.Spatial2DView(origin=f"picture/{what}", name=what) for what in ("latents", "predicted_original")),
                        view.TensorView(origin="tensor/latents", name="latents, a channel at a time"),
                        view.Vertical(view.TextDocumentView(origin="prompt"), view.TextDocumentView(origin="settings"))),
        view.Horizontal(*(view.TimeSeriesView(origin=origin) for origin in ("norm", "guidance", "distance", "schedule/sigma"))),
        row_shares=[3, 2])))
    kinds = {
        "text": lambda value: rerun.TextDocument(value, media_type="text/markdown"),
        "scalar": rerun.Scalars,
        "tensor": lambda value: rerun.Tensor(value, dim_names=("channel", "height", "width")),
        "png": lambda value: rerun.EncodedImage(contents=value, media_type="image/png"),
    }
    for step, entity, kind, value in items(run, batch):
        if step is not None:
            recording.set_time("step", sequence=step)
        recording.log(entity, kinds[kind](value), static=step is None)
    recording.disconnect()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="the run directory")
    parser.add_argument("--out", "-o", type=pathlib.Path, help="the file [default: exports/run.rrd under the run]")
    parser.add_argument("--batch", type=int, default=0, help="which picture of the batch [default: 0]")
    options = parser.parse_args()
    try:
        import rerun
    except ImportError:
        sys.exit(f"rerun is not installed: pip install rerun-sdk=={RERUN}")
    if rerun.__version__ != RERUN:
        print(f"note: this was tried with rerun-sdk {RERUN}, and {rerun.__version__} is installed", file=sys.stderr)
    try:
        run = Run(options.run)
        next(items(run, options.batch))
        out = options.out or run.folder / f"exports/run{suffix(options.batch)}.rrd"
        out.parent.mkdir(parents=True, exist_ok=True)
        write(run, out, options.batch)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(out)


if __name__ == "__main__":
    main()
