"""The other verbs that compute with a model, each once: they end well and leave what they should."""
import json
import os
import re
import subprocess
import time
import urllib.request

import torch

from . import tensors
from .features import BASE, trace
from .work import need


def verbs(part):
    """The other verbs that compute with a model, each once."""
    check = part.check
    on, work = ["--device", check.device], check.folder
    kept = ["--record", "all", "--decode", "every"]
    base, other = (trace(part, "device", f"verbs/{prompt}", check.tiny, [*BASE, *kept, "--prompt", prompt])[0]
                   for prompt in ("a red apple", "a green car"))

    def training():
        data = work / "pictures"
        data.mkdir(exist_ok=True)
        for number in range(4):
            torch.manual_seed(number)
            picture = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4), size=(128, 128))[0].permute(1, 2, 0)
            tensors.write_png(data / f"{number}.png", (picture * 255).byte())
        lines = [json.dumps({"file_name": f"{number}.png", "text": "a red apple"}) for number in range(4)]
        (data / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        part.sdviz("train", "lora", "--quiet", "--data", data, "--model", check.pocket, "--steps", "2", "--out", work / "learned", *on)
        need((work / "learned/lora.safetensors").exists(), "there is no LoRA")

    def served():
        process = subprocess.Popen([str(w) for w in (check.program, "serve", "--port", "0", "--runs", work / "served", "--model",
                                                     check.pocket, *on)],
                                   env=check.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        lines = []
        try:
            until = time.monotonic() + min(60, part.left())
            os.set_blocking(process.stdout.fileno(), False)
            while not any("http://" in line for line in lines):
                need(process.poll() is None and time.monotonic() < until, f"it does not serve: {''.join(lines)[-400:]}")
                lines += process.stdout.readlines()
                time.sleep(0.1)
            address = re.search(r"http://[\w.:]+", "".join(lines)).group()
            with urllib.request.urlopen(address + "/", timeout=10) as page:
                need(page.status == 200, f"the page says {page.status}")
            asked = {"prompt": "a red apple", "steps": 4, "width": 128, "height": 128, "sampler_name": "DDIM"}
            request = urllib.request.Request(address + "/sdapi/v1/txt2img", json.dumps(asked).encode(),
                                             {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                need(json.loads(answer.read())["images"], "there is no picture in the answer")
        finally:
            process.kill()
            process.wait()

    listed = {
        "inspect --time": lambda: {"ms": json.loads(part.sdviz("inspect", check.pocket, "--time", "--json", *on).out)["ms_unwatched"]},
        "effects": lambda: part.sdviz("effects", "--quiet", base, "--step", "2", "--sites", "unet.mid_block", *on) and None,
        "patch": lambda: part.sdviz("patch", "--quiet", base, other, "--sites", "unet.mid_block", "--windows", "all",
                                    "--out", work / "patch", *on) and None,
        "ablate": lambda: part.sdviz("ablate", "--quiet", "--prompt", "a red apple", "--steps", "2", "--model", check.tiny,
                                     "--sites", "mid.**.attn2", "--windows", "all", "--out", work / "ablate", *on) and None,
        "preview": lambda: part.sdviz("preview", "--quiet", base, "--out", work / "preview") and None,
        "train lora": training,
        "serve": served,
    }
    part.cases(list(listed.items()), check.options.at_once)
