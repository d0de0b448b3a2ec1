#!/usr/bin/env python3
"""Trains the pocket model and its judges from scratch on a machine with an NVIDIA GPU, within some minutes:

    python3 scripts/gpu/train_pocket.py --icons .gpu/icons --out OUT

It composes the pictures, trains the autoencoder, then text encoder and UNet, then the preview decoder; the judges learn on the
processor meanwhile. Stages end by the clock, and so does the learning rate. After each stage what is there is packed into OUT,
so that whatever is cut short, the rest remains: `model.tar.00`, `model.tar.01`, … (`cat OUT/model.tar.* | tar x`), `judges.tar.xz`,
`logs.tar.xz`, `report.json`, none above 16 MiB.

    python3 scripts/gpu/train_pocket.py --device cpu --quick --icons .gpu/icons --out OUT     the same in two minutes anywhere

Needs Python with torch, whose libraries the packed program uses (`bin/sdviz.xz`, or `--program FILE`). No network.
"""
import argparse
import io
import json
import lzma
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from gpu.work import PACKED, ROOT, configuration, unpacked  # noqa: E402

PART = 15 * 2**20
# What differs from assets/pocket.toml: there the training of two processor cores stands. The numbers of steps are out of
# reach: the stages end by the clock.
SETTINGS = {
    "vae": {"steps": 1_000_000, "batch": 128, "learning_rate": 2e-3, "warm_up": 200, "decay_from": 0.3, "decay_to": 0.01, "squared": 8.0,
            "kl": 1e-4, "checkpoint_every": 1000, "sample_every": 0},
    "diffusion": {"steps": 1_000_000, "batch": 512, "learning_rate": 1.5e-3, "warm_up": 200, "decay_from": 0.3, "decay_to": 0.01,
                  "checkpoint_every": 1000, "sample_every": 0},
    "judge": {"sample_every": 0},
    "preview_vae": {"batch": 32, "steps": 1_000_000, "sample_every": 0, "pictures": 512, "held_back": 32},
}
QUICK = {
    "vae": {"batch": 4, "held_back": 8},
    "diffusion": {"batch": 4},
    "judge": {"batch": 8, "held_back": 32, "steps": 20},
    "preview_vae": {"batch": 2, "pictures": 8, "held_back": 8},
    "samples": {"prompts": ["a red apple on a white background"], "steps": 3},
}


class Training:
    """Where everything is, and how much time is left."""

    def __init__(self, options):
        self.options, self.out = options, options.out.resolve()
        self.started = time.monotonic()
        self.end = self.started + options.minutes * 60
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="train-pocket-"))
        self.out.mkdir(parents=True, exist_ok=True)
        self.report = {"device": options.device, "minutes": options.minutes, "stages": {}, "errors": []}
        self.environment = {**os.environ, "NO_COLOR": "1", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
        self.program = self.find_program()
        self.running = []

    def find_program(self):
        if self.options.program:
            return self.options.program.resolve()
        if not PACKED.exists():
            sys.exit("error: there is no bin/sdviz.xz\nhint: name a program with `--program`")
        program, libraries = unpacked(self.work)
        self.environment.update(libraries)
        return program

    def left(self):
        return self.end - time.monotonic()

    def start(self, name, words, threads):
        log = open(self.work / f"{name}.txt", "ab")
        environment = {**self.environment, "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
        process = subprocess.Popen([str(self.program), *map(str, words)], stdout=log, stderr=log, env=environment, cwd=self.work,
                                   start_new_session=True)
        self.running.append(process)
        return process

    def stage(self, name, words, limit, threads=None):
        """Runs a stage to its end, or for so many seconds. Whether it ended well."""
        started = time.monotonic()
        process = self.start(name, words, threads or self.options.threads)
        ended = self.wait(process, min(limit, max(self.left() - 5, 5)))
        seconds = round(time.monotonic() - started, 1)
        self.note(name, {"seconds": seconds, "code": process.returncode, "cut": not ended})
        print(f"{name}: {seconds} s{'' if ended and process.returncode == 0 else ', did not end well'}", flush=True)
        return ended and process.returncode == 0

    @staticmethod
    def wait(process, limit):
        try:
            process.wait(timeout=max(limit, 0.1))
            return True
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False

    def note(self, name, what):
        self.report["stages"].setdefault(name, []).append(what)
        write(self.out / "report.json", json.dumps(self.report, indent=1).encode())

    def train(self, stage, words, seconds, over):
        """Trains for so many seconds and `over` more for what comes before and after; one that is cut writes what its last
        checkpoint has."""
        words = ["-q", "train", stage, "--config", self.work / "course.toml", "--out", self.work / "training",
                 "--device", self.options.device, *words]
        if not self.stage(stage, [*words, "--minutes", f"{seconds / 60:.4f}"], seconds + 2 * over + 20):
            self.stage(stage, [*words, "--minutes", "0.0001"], 2 * over + 10)

    def pack(self):
        """Everything that is there, each file whole when it appears under its name."""
        model, training = self.work / "training/model", self.work / "training"
        if model.exists():
            data = tar([(model, "model")])
            parts = [data[at:at + PART] for at in range(0, len(data), PART)]
            for number, part in enumerate(parts):
                write(self.out / f"model.tar.{number:02}", part)
        judges = [(training / name, name) for name in ("judge", "style-judge")]
        write(self.out / "judges.tar.xz", lzma.compress(tar(judges, (".json", ".safetensors", ".jsonl"))))
        logs = [(training / name, name) for name in ("vae", "diffusion", "preview_vae")]
        write(self.out / "logs.tar.xz", lzma.compress(tar([*logs, (self.work, ".")], (".png", ".jsonl", ".txt", ".toml"), False)))

    def stop(self):
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def write(path, data):
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)


def tar(folders, endings=None, deep=True):
    """The files of some folders, without checkpoints, latents and what is half-written."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for folder, name in folders:
            for path in sorted(folder.rglob("*") if deep else folder.glob("*")):
                left_out = path.name.startswith(".") or path.name in ("checkpoint.safetensors", "latents.safetensors")
                if path.is_file() and not left_out and (endings is None or path.suffix in endings):
                    file.add(path, f"{name}/{path.relative_to(folder)}")
    return packed.getvalue()


def run(training):
    options, work = training.options, training.work
    quick, cores = options.quick, options.threads
    settings = [SETTINGS, QUICK] if quick else [SETTINGS]
    (work / "course.toml").write_text(configuration((ROOT / "assets/pocket.toml").read_text(), *settings))
    pictures, unseen = (200, 120) if quick else (options.count, 16_000)
    for name, count, seed in (("data", pictures, 1), ("unseen", unseen, 2)):
        words = ["-q", "dataset", "build", "--config", ROOT / "assets/pocket-dataset.toml", "--icons", options.icons.resolve(), "--out", work / name, "--count", count, "--seed", seed]
        if not training.stage(f"dataset-{name}", words, 120):
            raise RuntimeError(f"no pictures: {(work / f'dataset-{name}.txt').read_text()[-500:]}")
    # Judges on the processor, which has little to do while the GPU trains.
    judges, share = [], max(cores // 3, 1)
    minutes = max(training.left() - 60, 20) / 60
    for of in ("object", "style"):
        words = ["-q", "train", "judge", "--of", of, "--data", work / "unseen", "--config", work / "course.toml", "--out", work / "training",
                 "--device", "cpu", "--seed", 1, "--minutes", f"{minutes if not quick else 0.3:.3f}"]
        judges.append((of, training.start(f"judge-{of}", words, share)))
    # What comes before and after the training of each stage: pictures read, latents made, samples drawn, files written.
    before_vae, before_unet, preview, packing = (4, 6, 12, 4) if quick else (14, 30, 50, 12)
    rest = training.left() - before_vae - before_unet - preview - packing
    training.train("vae", ["--data", work / "data", "--seed", 1], max(rest * options.vae_share, 3), before_vae)
    training.pack()
    rest = training.left() - before_unet - preview - packing
    training.train("diffusion", ["--data", work / "data", "--seed", 1], max(rest, 3), before_unet)
    training.pack()
    for of, process in judges:
        if process.poll() is not None:
            training.note(f"judge-{of}", {"code": process.returncode})
    rest = training.left() - packing - preview * 0.6
    if rest > (2 if quick else 10) and (work / "training/model/model_index.json").exists():
        training.train("preview-vae", ["--data", work / "unseen", "--model", work / "training/model", "--seed", 1], rest, preview * 0.4)
    for of, process in judges:
        ended = training.wait(process, min(training.left() - packing / 2, 60))
        training.note(f"judge-{of}", {"code": process.returncode, "cut": not ended})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(os.environ.get("OUT", "train-pocket")), help="[default: $OUT]")
    parser.add_argument("--icons", type=pathlib.Path, default=ROOT / ".gpu/icons", help="the drawings, as trim_icons.py leaves them")
    parser.add_argument("--program", type=pathlib.Path, help="the program [default: unpacked from bin/sdviz.xz]")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, help="for everything [default: 6; quick: 1.6]")
    parser.add_argument("--vae-share", type=float, default=0.4, help="the autoencoder's share of the time for training")
    parser.add_argument("--count", type=int, default=80_000, help="pictures")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="tiny numbers: does it all work?")
    options = parser.parse_args()
    options.minutes = options.minutes or (1.6 if options.quick else 6)
    training = Training(options)
    code = 0
    try:
        run(training)
    except Exception as error:  # noqa: BLE001: whatever it is, what is there is packed
        training.report["errors"].append(repr(error))
        print(f"error: {error}", flush=True)
        code = 1
    training.stop()
    training.pack()
    training.report["seconds"] = round(time.monotonic() - training.started, 1)
    write(training.out / "report.json", json.dumps(training.report, indent=1).encode())
    shutil.rmtree(training.work, ignore_errors=True)
    for path in sorted(training.out.iterdir()):
        print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB", flush=True)
    whole = tarfile_has(training.out, "model/model_index.json")
    print("model: whole" if whole else "model: not whole")
    sys.exit(code or (0 if whole else 1))


def tarfile_has(out, name):
    data = b"".join(path.read_bytes() for path in sorted(out.glob("model.tar.*")))
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as file:
            return name in file.getnames()
    except tarfile.TarError:
        return False


if __name__ == "__main__":
    main()
