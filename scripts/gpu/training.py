"""How fast a model from scratch learns on this device: both stages of the embedded model's training, in batches of several sizes."""
import json

import torch

from . import tensors
from .work import ROOT, configuration, need

SIDE, PICTURES = 128, 96
COLOURS = ["red", "green", "blue", "yellow"]


def pictures(folder):
    """Patches of colour with captions: what is learned does not matter, only how quickly."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(PICTURES):
        torch.manual_seed(number)
        patches = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), size=(SIDE, SIDE))[0]
        tensors.write_png(folder / f"{number}.png", (patches.permute(1, 2, 0) * 255).byte())
        lines.append(json.dumps({"file_name": f"{number}.png", "text": f"a {COLOURS[number % 4]} apple"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def training(part):
    """Pictures a second, of the last quarter of each short training."""
    check = part.check
    data = pictures(check.folder / "patches")

    def stage(name, batch, steps):
        out, file = check.folder / f"trained-{name}-{batch}", check.folder / f"{name}-{batch}.toml"
        if name == "diffusion":  # stands on the first stage's model
            out = check.folder / "trained-vae-8" if check.quick else check.folder / "trained-vae-64"
        course = {"steps": steps, "batch": batch, "log_every": steps // 4, "sample_every": 0, "checkpoint_every": steps}
        file.write_text(configuration((ROOT / "assets/pocket.toml").read_text(), {name: course}))
        part.sdviz("train", name, "--quiet", "--data", data, "--config", file, "--out", out, "--device", check.device, "--force")
        lines = [json.loads(line) for line in (out / name / "log.jsonl").read_text().splitlines()]
        need((out / "model").is_dir(), "there is no model")
        return {"pictures_per_second": lines[-1]["pictures_per_second"], "loss": lines[-1]["loss"]}

    sizes = [8] if check.quick else [64, 512]
    for name in ("vae", "diffusion"):
        for batch in sizes:
            steps = 8 if check.quick else 60
            part.case(f"{name}, {batch} at once", lambda n=name, b=batch, s=steps: stage(n, b, s))
