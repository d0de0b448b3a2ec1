"""Records what a diffusers pipeline does, as a run directory that `sdviz` reads.

    import sdviz_trace
    with sdviz_trace.record(pipe, "run", seed=7) as rec:
        pipe("a red apple on a blue background", num_inference_steps=25)
    print(rec.folder)                                  # then: sdviz report run, sdviz plot run, sdviz diff run other

Enters: a pipeline with `unet`, `scheduler` and `vae` (StableDiffusionPipeline and what is like it). Leaves: a folder with
run.json, the tensors and pictures of every step and the shape log, as docs/run-format.md describes it. The picture that the
pipeline draws is the same as without. One file, so that it can be copied into a project: it needs torch, diffusers and numpy,
and what diffusers itself needs.
"""
import contextlib
import functools
import hashlib
import inspect
import io
import json
import math
import os
import pathlib
import platform
import re
import secrets
import shutil
import time
import warnings

import numpy
import torch
from PIL import Image, PngImagePlugin
from safetensors.numpy import save

VERSION = "0.1.0"
TENSORS = ("latents", "noise_uncond", "noise_text", "noise_guided", "predicted_original")
# diffusers' class: the name on sdviz's command line, and in AUTOMATIC1111's web UI.
SCHEDULERS = {
    "PNDMScheduler": ("pndm", "PLMS"), "DDIMScheduler": ("ddim", "DDIM"), "DDPMScheduler": ("ddpm", "DDPM"),
    "LMSDiscreteScheduler": ("lms", "LMS"), "EulerDiscreteScheduler": ("euler", "Euler"),
    "EulerAncestralDiscreteScheduler": ("euler_a", "Euler a"), "HeunDiscreteScheduler": ("heun", "Heun"),
    "DPMSolverMultistepScheduler": ("dpmpp_2m", "DPM++ 2M"), "UniPCMultistepScheduler": ("unipc", "UniPC"),
}
DTYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.float64: "f64", torch.int64: "i64"}
BLOCK = (r"(?:(?:down_blocks|up_blocks)\.\d+|mid_block)"
         r"(?:\.(?:resnets|attentions|downsamplers|upsamplers)\.\d+(?:\.transformer_blocks\.\d+(?:\.(?:attn1|attn2|ff))?)?)?")
# The modules that the shape log has, by their key paths.
UNET_SITES = re.compile(rf"time_proj|time_embedding|conv_in|conv_act|conv_out|{BLOCK}")
VAE_SITES = re.compile(rf"post_quant_conv|decoder\.(?:conv_in|conv_act|conv_out|{BLOCK})")
BRIEF = re.compile(r"text_embeddings|starting_latents|unet\.(?:sample|time_embedding|conv_in|mid_block|(?:down|up)_blocks\.\d+)|"
                   r"noise_pred|noise_guided|predicted_original|latents|vae\.latents|vae\.decoder\.mid_block|image")


def record(pipe, out="run", *, keep=TENSORS, decode="every", decode_what=("latents", "predicted_original"), shapes=True,
           seed=None, force=False):
    """Records every call of `pipe` in the `with` block: the first into `out`, the next into `out-2`, `out-3`, …

    keep         which of `TENSORS` are written of each step
    decode       which steps are decoded to pictures: "every", "final", "none", or N for every Nth
    decode_what  what is decoded of them: "latents", "predicted_original"
    shapes       whether shapes and statistics of every module's output are logged, once
    seed         draws the noise as sdviz does: picture i of a call from torch.Generator("cpu").manual_seed(seed + i)
    force        replaces the run in `out`
    """
    for name in (*keep, *decode_what):
        if name not in TENSORS:
            raise ValueError(f"`{name}` is not recorded: there are {', '.join(TENSORS)}")
    if decode not in ("every", "final", "none") and not (isinstance(decode, int) and decode > 0):
        raise ValueError(f"cannot decode `{decode}`: give \"every\", \"final\", \"none\", or N above 0 for every Nth step")
    missing = [part for part in ("unet", "scheduler", "vae") if getattr(pipe, part, None) is None]
    if missing:
        raise ValueError(f"a {type(pipe).__name__} cannot be recorded: it has no `{missing[0]}`")
    return Recording(pipe, pathlib.Path(out), dict(keep=tuple(k for k in TENSORS if k in keep), decode=decode, shapes=shapes,
                                                   decode_what=tuple(decode_what), seed=seed, force=force))


class Recording:
    """What `record` gives: a context manager. `folders` are the runs so far, `folder` is the last of them."""

    def __init__(self, pipe, out, options):
        self.pipe, self.out, self.options, self.folders = pipe, out, options, []

    @property
    def folder(self):
        return self.folders[-1] if self.folders else None

    def __enter__(self):
        # Python looks `__call__` up in the class: for this one object another class stands in.
        self.kind, recording = type(self.pipe), self

        @functools.wraps(self.kind.__call__)
        def call(pipe, *positional, **named):
            return recording._draw(positional, named)

        self.pipe.__class__ = type(self.kind.__name__, (self.kind,), {"__call__": call, "__module__": self.kind.__module__})
        return self

    def __exit__(self, *_):
        self.pipe.__class__ = self.kind

    def _draw(self, positional, named):
        number = len(self.folders) + 1
        out = self.out if number == 1 else self.out.with_name(f"{self.out.name}-{number}")
        call = inspect.signature(self.kind.__call__).bind(self.pipe, *positional, **named)
        run = Run(self.pipe, self.kind, call, out, self.options)
        with run:
            self.folders.append(out)
            result = self.kind.__call__(*call.args, **call.kwargs)
            run.end(result)
        return result


class Run:
    """One call of the pipeline and the folder of its record."""

    def __init__(self, pipe, kind, call, folder, options):
        self.pipe, self.kind, self.folder, self.options = pipe, kind, folder, options
        self.started, self.record, self.step, self.last = time.time(), None, 0, None
        self.predictions, self.waiting, self.rows, self.told = [], None, [], 0.0
        self._settle(call)
        self.told_seed = self._known_seed()
        self._take_folder()

    def _settle(self, call):
        """Puts our callback beside the user's, and the seed's generators where there are none."""
        whole = inspect.BoundArguments(call.signature, dict(call.arguments))
        whole.apply_defaults()
        self.asked = asked = whole.arguments
        prompts = asked.get("prompt") if isinstance(asked.get("prompt"), (list, tuple)) else [asked.get("prompt")]
        if len(set(prompts)) > 1:
            raise ValueError("a run has one prompt: call the pipeline once for each, or ask for num_images_per_prompt")
        self.prompt = prompts[0] or ""
        negative = asked.get("negative_prompt") or ""
        self.negative = negative if isinstance(negative, str) else negative[0]
        if self.options["seed"] is not None and "generator" in asked and asked["generator"] is None:
            count = len(prompts) * (asked.get("num_images_per_prompt") or 1)
            generators = [torch.Generator("cpu").manual_seed(self.options["seed"] + i) for i in range(count)]
            asked["generator"] = call.arguments["generator"] = generators if count > 1 else generators[0]
        self.calls_back = "callback_on_step_end" in asked
        if self.calls_back:
            theirs, inputs = asked["callback_on_step_end"], list(asked["callback_on_step_end_tensor_inputs"] or [])
            inputs = list(getattr(theirs, "tensor_inputs", inputs))

            def on_step_end(pipe, step, timestep, tensors):
                answer = theirs(pipe, step, timestep, tensors) if theirs else {}
                self._step_ends({**tensors, **answer}["latents"])
                return answer

            call.arguments["callback_on_step_end"] = on_step_end
            call.arguments["callback_on_step_end_tensor_inputs"] = list(dict.fromkeys([*inputs, "latents"]))

    def _known_seed(self):
        """The seed of the first picture, where the noise comes from a generator that nothing was drawn from yet."""
        generator = self.asked.get("generator")
        device = self.pipe.unet.device
        usual = torch.cuda.default_generators[device.index or 0] if device.type == "cuda" else torch.default_generator
        self.generators = generator if isinstance(generator, (list, tuple)) else [generator or usual]
        seeds = [g.initial_seed() for g in self.generators]
        fresh = all(torch.equal(g.get_state(), torch.Generator(g.device).manual_seed(g.initial_seed()).get_state())
                    for g in self.generators)
        if fresh and seeds == [seeds[0] + i for i in range(len(seeds))]:
            return seeds[0]
        warnings.warn("the seed is not known, and run.json says 0: give `seed=` to record(), or a fresh torch.Generator for "
                      "each picture, with seeds that follow each other", stacklevel=5)
        return None

    # The folder.

    def _take_folder(self):
        if self.folder.is_dir() and not self.options["force"] and any(name[0] != "." for name in os.listdir(self.folder)):
            raise FileExistsError(f"`{self.folder}` is not empty: name another folder, or replace the run in it with force=True")
        (self.folder / "steps").mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / ".lock", "w")
        with contextlib.suppress(ImportError, OSError):
            import fcntl
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(f"`{self.folder}` is being written by another process") from None
        (self.folder / "run.json").unlink(missing_ok=True)  # first: nothing may call a part of the old run complete
        for name in ("steps", "sites", "attention", "attribution", "exports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for old in (*self.folder.glob("final*.png"), *(self.folder / n for n in ("shapes.jsonl", "blocks.jsonl", "init.png",
                                                                                  "mask.png", "index.html"))):
            old.unlink(missing_ok=True)
        (self.folder / "steps").mkdir()

    def _write(self, name, data):
        """A file that has its name is whole."""
        path = self.folder / name
        part = path.with_name(f".{path.name}.{secrets.token_hex(3)}.part")
        part.write_bytes(data)
        part.replace(path)

    def _write_record(self, **more):
        self.record |= more
        self._write("run.json", (json.dumps(self.record, indent=2, ensure_ascii=False) + "\n").encode())

    # Watching: from the first hook to the last.

    def __enter__(self):
        self.patches = contextlib.ExitStack()
        pipe, step = self.pipe, self.pipe.scheduler.step
        hook = pipe.unet.register_forward_hook(self._predicted, with_kwargs=True)
        self.patches.callback(hook.remove)
        if self.options["shapes"]:
            for part, module, sites in (("unet", pipe.unet, UNET_SITES), ("vae", pipe.vae, VAE_SITES)):
                for name, inner in module.named_modules():
                    if sites.fullmatch(name):
                        # sdviz holds up the last normalisation where its activation is done.
                        see = functools.partial(self._see_module, f"{part}.{name}".replace("conv_act", "conv_norm_out"))
                        self.patches.callback(inner.register_forward_hook(see).remove)
        own = pipe.scheduler.__dict__.get("step")

        @functools.wraps(step)  # pipelines look at its signature
        def watched(model_output, timestep, sample, *positional, **named):
            self._before_step(model_output, timestep, sample)
            result = step(model_output, timestep, sample, *positional, **named)
            if not self.calls_back:
                self._step_ends(result[0])
            return result

        pipe.scheduler.step = watched
        self.patches.callback(lambda: setattr(pipe.scheduler, "step", own) if own else delattr(pipe.scheduler, "step"))
        return self

    def __exit__(self, kind, error, _):
        self.patches.close()
        if self.record and self.record["status"] == "running":
            self._release_last([])
            self._write_shapes()
            self._write_record(status="failed", failure=f"{kind.__name__}: {error}" if kind else "it was left")
        with contextlib.suppress(OSError):
            os.unlink(self.folder / ".lock")
        self.lock.close()

    def _predicted(self, _, positional, named, output):
        self.predictions.append(output[0] if isinstance(output, tuple) else output.sample)
        if self.step == 0 and self.options["shapes"]:
            first = {"text_embeddings": named.get("encoder_hidden_states"),
                     "unet.sample": positional[0] if positional else named.get("sample")}
            # What enters is known only now, and comes first.
            entering = [self._row(name, tensor) for name, tensor in first.items() if tensor is not None]
            self.rows = self.rows if any(row["name"] == "unet.sample" for row in self.rows) else entering + self.rows

    @torch.no_grad()
    def _before_step(self, guided, timestep, sample):
        begun = time.time()
        if self.record is None:
            self._begin(float(timestep), sample)
        level, batch = self.record["schedule"][self.step], sample.shape[0]
        tensors = {"noise_guided": guided}
        if len(self.predictions) == 1 and self.predictions[0].shape[0] in (batch, 2 * batch):
            parts = self.predictions[0].chunk(self.predictions[0].shape[0] // batch)
            tensors |= {"noise_text": parts[-1]} | ({"noise_uncond": parts[0]} if len(parts) == 2 else {})
            tensors["noise_pred"] = self.predictions[0]
        self.predictions = []
        tensors["predicted_original"] = self._original(guided, sample, level)
        # The pipeline may go on with other memory: what is kept is kept apart.
        self.waiting = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self.told += time.time() - begun

    @torch.no_grad()
    def _step_ends(self, latents):
        begun = time.time()
        self.step += 1
        tensors, self.waiting = self.waiting, None
        tensors["latents"] = latents.detach().clone()
        if self.step == 1 and self.options["shapes"]:
            for name in ("noise_pred", "noise_uncond", "noise_text", "noise_guided", "predicted_original", "latents"):
                if name in tensors:
                    self.rows.append(self._row(name, tensors[name]))
        timestep = self.record["schedule"][self.step - 1]["timestep"]
        if self.step == len(self.record["schedule"]) - 1:
            self.last = (tensors, timestep)  # its picture is the pipeline's own
        else:
            self._write_step(self.step, timestep, tensors)
        self.told += time.time() - begun

    @torch.no_grad()
    def end(self, result):
        """The call has given its result."""
        begun = time.time()
        if self.record is None:
            raise RuntimeError("nothing was recorded: the pipeline made no step")
        images = getattr(result, "images", result[0] if isinstance(result, tuple) else None)
        ready = isinstance(images, list) and all(isinstance(image, Image.Image) for image in images)
        self._release_last(images if ready else None)
        self._write_shapes()
        self.told += time.time() - begun
        stages = [{"name": "observers", "seconds": self.told, "count": self.step + 1}]
        timings = {"started_unix": int(self.started), "total_seconds": time.time() - self.started, "stages": stages}
        calls = len(self.record["schedule"]) - 1
        ended = {} if self.step == calls else {"failure": f"stopped after step {self.step} of {calls}"}
        self._write_record(status="failed" if ended else "complete", **ended, timings=timings)

    def _release_last(self, images):
        """Writes the last step, with the pictures that the pipeline has made of it."""
        if self.last is None:
            return
        (tensors, timestep), self.last = self.last, None
        pictures = self._write_step(self.step, timestep, tensors, images)
        for i, picture in enumerate(images or pictures if self.options["decode"] != "none" else []):
            self._write(f"final{batch_suffix(i)}.png", self._png(picture, i))

    # Writing.

    def _begin(self, timestep, sample):
        """Writes what is known before the first step, and the starting latents."""
        pipe, batch, calls = self.pipe, sample.shape[0], self.pipe.scheduler.timesteps.tolist()
        made = getattr(pipe, "_num_timesteps", None) or len(calls) - calls.index(timestep)
        factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
        size = {"width": sample.shape[-1] * factor, "height": sample.shape[-2] * factor}
        self.record = self._describe(batch, size, factor) | {"schedule": levels(pipe.scheduler, len(calls) - made)}
        if made < len(calls):
            self.record["begin"] = {
                "first_call": len(calls) - made, "scheduled_calls": len(calls), "timestep": float(calls[-made]),
                "why": f"the pipeline makes the last {made} of {len(calls)} calls"}
        self._write_record()
        if self.options["shapes"]:
            at = next((i for i, row in enumerate(self.rows) if row["name"] == "unet.sample"), 0)
            self.rows.insert(at, self._row("starting_latents", sample))
        self._write_step(0, None, {"latents": sample})

    def _describe(self, batch, size, factor):
        """run.json without its schedule and its end."""
        pipe, asked, options = self.pipe, self.asked, self.options
        scheduler, guided = pipe.scheduler, getattr(pipe, "do_classifier_free_guidance", True)
        fields = set(inspect.signature(type(scheduler).__init__).parameters)
        if not scheduler.config.get("thresholding"):
            fields -= {"dynamic_thresholding_ratio", "sample_max_value"}
        config = {"_class_name": type(scheduler).__name__}
        config |= {k: v for k, v in scheduler.config.items() if k in fields and not (isinstance(v, float) and not math.isfinite(v))}
        config = json.loads(json.dumps(config, default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v)))
        name, self.sampler = SCHEDULERS.get(type(scheduler).__name__, (type(scheduler).__name__.removesuffix("Scheduler"),) * 2)
        if name == "dpmpp_2m" and config.get("use_karras_sigmas"):
            name, self.sampler = "dpmpp_2m_karras", "DPM++ 2M Karras"
        scale = asked.get("guidance_scale", 1.0)
        plan = {
            "prompt": self.prompt, "negative_prompt": self.negative, "clip_skip": 1 + (asked.get("clip_skip") or 0),
            "seed": self.told_seed or 0, "batch_size": batch,
            "steps": asked.get("num_inference_steps") or scheduler.num_inference_steps,
            "guidance_scale": float(scale) if guided or scale <= 1 else 1.0, **size,
            "scheduler": name, "scheduler_config": config, "eta": float(asked.get("eta") or 0.0),
            "record": list(options["keep"]), "decode": str(options["decode"]), "decode_what": list(options["decode_what"])}
        if asked.get("image") is not None and asked.get("strength") is not None:
            plan |= {"strength": float(asked["strength"]), "init_image": self._init_image(size)}
        parts = [n for n in ("text_encoder", "text_encoder_2", "unet", "vae") if getattr(pipe, n, None) is not None]
        model = {
            "id": str(pipe.config.get("_name_or_path") or ""), "chosen_by": "diffusers", "class_name": self.kind.__name__,
            "components": [{"name": n, "file": "", "sha256": "", "parameters": sum(p.numel() for p in getattr(pipe, n).parameters()),
                            "file_dtype": dtype_name(getattr(pipe, n).dtype)} for n in parts],
            "latent_channels": pipe.vae.config.latent_channels, "vae_scale_factor": factor,
            "scaling_factor": pipe.vae.config.scaling_factor, "prediction_type": config.get("prediction_type", "epsilon")}
        import diffusers
        made_by = {"program": "sdviz_trace", "version": VERSION, "diffusers": diffusers.__version__, "torch": torch.__version__,
                   "seeds": [g.initial_seed() for g in self.generators] if self.told_seed is not None else None}
        environment = {
            "device": str(pipe.unet.device), "dtype": dtype_name(pipe.unet.dtype), "threads": torch.get_num_threads(),
            "rng": self.generators[0].device.type,
            "libtorch": torch.__version__, "platform": f"{platform.system().lower()} {platform.machine()}"}
        return {"schema_version": 1, "made_by": made_by, "status": "running", "plan": plan, "model": model,
                "tokens": self._tokens(), "environment": environment}

    def _init_image(self, size):
        """The picture that the run begins from, as the pipeline prepares it."""
        picture = self.pipe.image_processor.preprocess(self.asked["image"], height=size["height"], width=size["width"])
        data = png_bytes(to_pictures(picture[:1])[0], {})
        self._write("init.png", data)
        return {"file": "init.png", "sha256": hashlib.sha256(data).hexdigest(), **size}

    def _tokens(self):
        tokenizer = getattr(self.pipe, "tokenizer", None)
        if tokenizer is None:
            return {}
        tokens = {"window": tokenizer.model_max_length}
        for key, text in (("prompt", self.prompt), ("negative_prompt", self.negative)):
            ids = tokenizer(text).input_ids
            kept = ids if len(ids) <= tokens["window"] else ids[:tokens["window"] - 1] + ids[-1:]
            tokens[key] = [{"id": i, "piece": piece} for i, piece in zip(kept, tokenizer.convert_ids_to_tokens(kept))]
            if len(ids) > len(kept):
                tokens[f"{key}_cut"] = tokenizer.decode(ids[tokens["window"] - 1:-1])
        return tokens

    def _decodes(self, what, step):
        decode, last = self.options["decode"], step == len(self.record["schedule"]) - 1
        included = last and decode != "none" or decode == "every" or isinstance(decode, int) and step % decode == 0
        return included and what in self.options["decode_what"]

    def _write_step(self, step, timestep, tensors, images=None):
        """Writes a step, with `images` as the pictures of its latents where they are there: the pictures."""
        pictures = []
        # In sdviz's order: the first that is decoded stands in the shape log.
        # What the run ends with is decoded as it is, though a last sigma above 0 is left in it.
        ends = step == len(self.record["schedule"]) - 1
        for what, ending, level in (("predicted_original", "-x0", None), ("latents", "", None if ends else self.record["schedule"][step])):
            if what in tensors and images != [] and self._decodes(what, step):
                ready = images if images and not ending else self._decoded(tensors[what], level)
                pictures = pictures if ending else ready
                for i, picture in enumerate(ready):
                    texts = {"step": step, "decoded": what}
                    self._write(f"steps/{step:03}{ending}{batch_suffix(i)}.png", self._png(picture, i, texts))
        names = [name for name in self.options["keep"] if name in tensors]
        # One way from the device to the host for all of them.
        moved = torch.stack([tensors[name].float() for name in names]).cpu().numpy() if names else []
        arrays = {name: numpy.ascontiguousarray(array) for name, array in zip(names, moved)}
        about = json.dumps({"schema_version": 1, "step": step, "timestep": timestep})
        self._write(f"steps/{step:03}.safetensors", save(arrays, {"sdviz": about}))  # last: where it is, the step is whole
        return pictures

    def _decoded(self, latents, level):
        """Pictures of latents. A step's own may be larger than the model sees them: `level` is theirs."""
        vae, scale = self.pipe.vae, level["latent_scale"] if level else 1.0
        narrow = vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
        if narrow:  # as the pipelines themselves do where f16 overflows
            vae.to(torch.float32)
        picture = vae.decode((latents / scale / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
        if narrow:
            vae.to(torch.float16)
        return to_pictures(picture)

    def _png(self, picture, item, more=None):
        """A PNG that says how it was made, to AUTOMATIC1111's web UI and to sdviz."""
        plan, model = self.record["plan"], self.record["model"]
        seed = [] if self.told_seed is None else [f"Seed: {plan['seed'] + item}"]
        name = json.dumps(pathlib.PurePath(model["id"]).name)
        lines = [plan["prompt"], *([f"Negative prompt: {plan['negative_prompt']}"] if plan["negative_prompt"] else []), ", ".join([
            f"Steps: {plan['steps']}", f"Sampler: {self.sampler}", f"CFG scale: {plan['guidance_scale']:g}", *seed,
            f"Size: {plan['width']}x{plan['height']}", f"Model: {name}", "RNG: " + self.record["environment"]["rng"].upper(),
            f"Version: sdviz_trace {VERSION}", *(f"{k.capitalize()}: {v}" for k, v in (more or {}).items())])]
        own = {"batch_item": item, **{k: self.record[k] for k in ("plan", "model", "tokens", "environment")}, **(more or {})}
        return png_bytes(picture, {"parameters": "\n".join(lines), "sdviz": json.dumps(own, ensure_ascii=False)})

    # The shape log.

    @torch.no_grad()
    def _see_module(self, name, _, entering, output):
        output = output[0] if isinstance(output, tuple) else output
        wanted = self.step == 0 if name.startswith("unet.") else self.step > 0  # the starting latents' picture is no end
        if wanted and torch.is_tensor(output) and all(row["name"] != name for row in self.rows):
            if name == "vae.post_quant_conv":
                self.rows.append(self._row("vae.latents", entering[0]))
            self.rows.append(self._row(name, output))
            if name == "vae.decoder.conv_out":
                self.rows.append(self._row("image", (output / 2 + 0.5).clamp(0, 1)))

    def _row(self, name, tensor):
        numbers = tensor.detach().float()
        variance, mean = torch.var_mean(numbers, correction=0)
        values = torch.stack([*torch.aminmax(numbers), mean, variance]).tolist()
        values[3] = math.sqrt(values[3]) if values[3] >= 0 else values[3]
        words = [v if math.isfinite(v) else "NaN" if v != v else "Infinity" if v > 0 else "-Infinity" for v in values]
        return {"order": 0, "name": name, "brief": BRIEF.fullmatch(name) is not None, "symbolic": "",
                "shape": list(tensor.shape), "dtype": dtype_name(tensor.dtype), **dict(zip(("min", "max", "mean", "std"), words))}

    def _write_shapes(self):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in self._finished_rows()]
        if lines:
            self._write("shapes.jsonl", "".join(lines).encode())

    def _finished_rows(self):
        """The rows with their places, and with their shapes in symbols: B pictures of H by W pixels."""
        plan = self.record["plan"]
        sides = (("H", plan["height"]), ("W", plan["width"]))
        images = [row["shape"] for row in self.rows if len(row["shape"]) == 4]
        for order, row in enumerate(self.rows):
            shape = row["shape"]
            names = [str(n) for n in shape]
            names[0] = {2 * plan["batch_size"]: "2·B", plan["batch_size"]: "B"}.get(shape[0], names[0])
            if len(shape) == 4:
                names[2:] = [part(*side, n) for side, n in zip(sides, shape[2:])]
            elif ".transformer_blocks." in row["name"]:
                grid = next((s[2:] for s in images if s[2] * s[3] == shape[1]), None)
                names[1] = "·".join(part(*side, n) for side, n in zip(sides, grid)) if grid else names[1]
            yield row | {"order": order, "symbolic": f"[{', '.join(names)}]"}

    def _original(self, output, sample, level):
        """The clean latents that a prediction implies: what `level` says is taken off."""
        scheduler, sigma = self.pipe.scheduler, level["sigma"]
        alpha = 1 / math.sqrt(sigma * sigma + 1)
        # Every scale of latents is brought to that of unit variance first.
        x, output = sample.float() / level["latent_scale"], output.float()
        kind = scheduler.config.get("prediction_type", "epsilon")
        clean = {"epsilon": lambda: (x - sigma * alpha * output) / alpha, "sample": lambda: output,
                 "v_prediction": lambda: alpha * x - sigma * alpha * output}[kind]()
        if scheduler.config.get("clip_sample"):
            clean = clean.clamp(-scheduler.config.clip_sample_range, scheduler.config.clip_sample_range)
        return clean


def levels(scheduler, first):
    """The noise level before each call from `first` on, and after the last: entries of `schedule` in run.json."""
    timesteps = [float(t) for t in scheduler.timesteps]
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(f"a {type(scheduler).__name__} cannot be recorded: it has no alphas_cumprod")
    if len(getattr(scheduler, "sigmas", [])) > len(timesteps):
        sigmas = [float(s) for s in scheduler.sigmas]
        found = [(1 / (s * s + 1), s) for s in sigmas[:len(timesteps) + 1]]
    else:
        final = getattr(scheduler, "final_alpha_cumprod", torch.tensor(1.0))
        back = getattr(scheduler, "previous_timestep", lambda t: t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps)
        whole = [int(t) for t in timesteps]
        ends = int(back(whole[-1]))
        alphas = [float(scheduler.alphas_cumprod[t]) if t >= 0 else float(final) for t in (*whole, ends)]
        found = [(a, math.sqrt((1 - a) / a)) for a in (max(a, 2.0 ** -24) for a in alphas)]
    # k-diffusion's schedulers let the latents grow with sigma, and begin with more than unit noise.
    grows = float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1.0
    return [{"timestep": timesteps[k] if k < len(timesteps) else None, "sigma": sigma, "alpha_cumprod": alpha,
             "latent_scale": math.sqrt(sigma * sigma + 1) if grows else 1.0} for k, (alpha, sigma) in enumerate(found)][first:]


def part(symbol, whole, size):
    """`H/8` for a size that is an eighth of the picture's, `⌈H/64⌉` where it was rounded up."""
    factor = 2 ** round(math.log2(whole / size))
    if size == whole:
        return symbol
    return f"{symbol}/{factor}" if size * factor == whole else f"⌈{symbol}/{factor}⌉" if whole // factor + 1 == size else str(size)


def batch_suffix(item):
    return f"-b{item}" if item else ""


def dtype_name(dtype):
    return DTYPES.get(dtype, str(dtype).removeprefix("torch."))


def to_pictures(tensor):
    """Pictures of `[batch, 3, height, width]` in -1 to 1, rounded to 8 bits."""
    pixels = ((tensor.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in pixels]


def png_bytes(picture, texts):
    info, out = PngImagePlugin.PngInfo(), io.BytesIO()
    for keyword, text in texts.items():
        latin = all(ord(c) < 256 for c in text)  # tEXt holds no more, and old readers know nothing else
        info.add_text(keyword, text) if latin else info.add_itxt(keyword, text)
    picture.convert("RGB").save(out, "png", pnginfo=info)
    return out.getvalue()
