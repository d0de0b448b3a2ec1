"""webuiapi from PyPI, unchanged and with its default arguments, against `sdviz serve`.

    python scripts/check_webuiapi.py [PROGRAM]     # target/debug/sdviz; needs webuiapi, as `make test-webuiapi` installs it

Starts a server of its own on a free port in a temporary folder, calls what the client offers, and checks what comes back.
"""

import base64
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import webuiapi
from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parent.parent


def start(program, folder):
    """The server's process and its port."""
    server = subprocess.Popen([program, "serve", "--port", "0", "--runs", folder], stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found:
            # What else it says must not fill the pipe.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return server, int(found[1])
    raise SystemExit("the server did not start")


def sketch():
    """A red disc on blue, and a mask of its right half."""
    picture, mask = Image.new("RGB", (128, 128), (40, 90, 220)), Image.new("L", (128, 128), 0)
    ImageDraw.Draw(picture).ellipse((32, 32, 96, 96), fill=(220, 30, 30))
    ImageDraw.Draw(mask).rectangle((64, 0, 127, 127), fill=255)
    return picture, mask


def check(api):
    """Every call, in the order in which a program would make them."""
    print("scripts        ", api.get_scripts())
    samplers = [sampler["name"] for sampler in api.get_samplers()]
    print("samplers       ", samplers)
    assert "Euler a" in samplers and "DPM++ 2M" in samplers
    print("schedulers     ", [scheduler["name"] for scheduler in api.get_schedulers()])
    print("models         ", api.util_get_model_names())
    assert api.util_get_model_names() == ["pocket"]
    api.util_set_model("Pocket")
    assert api.util_get_current_model() == "pocket"
    options = api.get_options()
    api.set_options(options)
    api.util_wait_for_ready(check_interval=0.1)
    for name in ("cmd_flags", "upscalers", "latent_upscale_modes", "loras", "hypernetworks", "face_restorers",
                 "realesrgan_models", "prompt_styles", "embeddings", "memory"):
        getattr(api, f"get_{name}")()
    api.refresh_checkpoints()

    result = api.txt2img(prompt="a red apple on a blue background", seed=7, width=128, height=128)
    print("txt2img        ", result.image.size, result.info["sampler_name"], result.info["infotexts"][0].splitlines()[-1])
    assert result.image.size == (128, 128) and result.info["seed"] == 7 and result.info["steps"] == 20
    assert result.info["all_seeds"] == [7] and result.info["sampler_name"] == "Euler a"

    two = api.txt2img(prompt="a cat face", seed=1, width=128, height=128, steps=2, batch_size=2)
    assert len(two.images) == 2 and two.info["all_seeds"] == [1, 2]

    # All the arguments as they are, 512×512 among them.
    default = api.txt2img(prompt="a star")
    print("txt2img default", default.image.size, default.info["seed"])
    assert default.image.size == (512, 512) and default.info["seed"] >= 0

    picture, mask = sketch()
    repainted = api.img2img(images=[picture], mask_image=mask, prompt="a red apple", seed=3, width=128, height=128)
    print("img2img, mask  ", repainted.image.size, repainted.info["warnings"])
    kept, new = (0, 0, 63, 127), (64, 0, 127, 127)
    assert repainted.image.crop(kept).tobytes() == picture.crop(kept).tobytes(), "black is kept"
    assert repainted.image.crop(new).tobytes() != picture.crop(new).tobytes(), "white is repainted"

    told = api.png_info(default.image) if default.image.info else None
    print("png_info       ", told.info[:60] if told else "the client gave no text")
    assert told and "Steps: 20" in told.info

    interrupted(api)
    try:
        api.txt2img(prompt="x", steps=100000)
        raise SystemExit("100000 steps were not refused")
    except RuntimeError as refusal:
        print("refusal        ", refusal.args)


def interrupted(api):
    """A long run shows its progress and ends when it is asked to."""
    result = {}
    worker = threading.Thread(target=lambda: result.update(it=api.txt2img(prompt="a fish", steps=150, width=256, height=256)))
    began = time.time()
    worker.start()
    progress = {"progress": 0}
    while progress["progress"] == 0 and time.time() - began < 120:
        time.sleep(0.1)
        progress = api.get_progress()
    shown = api.get_progress()
    print("progress       ", round(shown["progress"], 3), shown["state"]["sampling_step"], "of", shown["state"]["sampling_steps"])
    assert 0 < shown["progress"] < 1 and shown["state"]["job_count"] == 1
    assert Image.open(io.BytesIO(base64.b64decode(shown["current_image"]))).size == (256, 256)
    api.interrupt()
    worker.join(timeout=30)
    assert not worker.is_alive() and result["it"].images, "what there was of it comes back"
    api.util_wait_for_ready(check_interval=0.1)
    print("interrupt      ", json.dumps(api.get_progress()["state"])[:60])


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/debug/sdviz")
    with tempfile.TemporaryDirectory() as folder:
        server, port = start(program, folder)
        try:
            check(webuiapi.WebUIApi(host="127.0.0.1", port=port))
        finally:
            server.terminate()
            assert server.wait(timeout=60) == 0, "the server ends by itself when it is asked to"
    print("webuiapi", "works")


if __name__ == "__main__":
    main()
