"""What every part of the check works with: the program, the time that is left, the file of figures.

A part has a time limit of its own and cases, each of which may fail without taking the others with it. Everything that
takes time is a process of its own, so that it can be ended; what is known is on disk after every case.
"""
import concurrent.futures
import dataclasses
import json
import lzma
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]


PACKED = ROOT / "bin/sdviz.xz"


def unpacked(folder):
    """The program as scripts/gpu/pack.py packs it, unpacked into a folder, and the settings under which it finds the libtorch
    that a Python torch brings."""
    import torch
    program, beside = folder / "sdviz", pathlib.Path(torch.__file__).parent / "lib"
    program.write_bytes(lzma.decompress(PACKED.read_bytes()))
    program.chmod(0o755)
    return program, {"LD_LIBRARY_PATH": f"{beside}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")}


def configuration(text, *changes):
    """A training's configuration with some settings changed: `key = value` lines of its tables."""
    for table, settings in ((table, settings) for change in changes for table, settings in change.items()):
        begin = re.search(rf"^\[{table}\]\n", text, re.MULTILINE).end()
        end = re.search(r"^\[", text[begin:], re.MULTILINE)
        end = begin + end.start() if end else len(text)
        body = text[begin:end]
        for key, value in settings.items():
            body = f"{key} = {json.dumps(value)}\n" + re.sub(rf"^{key} = (\[[^\]]*\]|.*)\n", "", body, flags=re.MULTILINE)
        text = text[:begin] + body + text[end:]
    return text


class OutOfTime(Exception):
    """Nothing went wrong: there was no time left."""


class Wrong(Exception):
    """A check found what should not be."""


def need(holds, message):
    if not holds:
        raise Wrong(message)


@dataclasses.dataclass
class Finished:
    """A process that has ended. `code` is None where it was ended for its time."""
    code: int
    seconds: float
    out: str
    err: str
    memory: dict


class Figures:
    """A JSON file that is whole on disk after every change."""

    def __init__(self, path):
        self.path, self.all, self.lock = pathlib.Path(path), {"parts": {}}, threading.Lock()

    def put(self, *place):
        """`put("a", "b", value)`: all["a"]["b"] = value."""
        *keys, last, value = place
        with self.lock:
            inner = self.all
            for key in keys:
                inner = inner.setdefault(key, {})
            inner[last] = value
            beside = self.path.with_name(f".{self.path.name}.part")
            with open(beside, "w") as file:
                json.dump(self.all, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)


class Memory:
    """Samples what a process takes: of the host its peak, of the GPU what is in use beyond what was when it began."""

    def __init__(self, device, pid):
        self.device, self.pid, self.over, self.peak = device, pid, threading.Event(), {}
        self.before = self.gpu()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def gpu(self):
        if not self.device.startswith("cuda"):
            return 0
        import torch
        free, total = torch.cuda.mem_get_info()
        return total - free

    def sample(self):
        while not self.over.wait(0.1):  # asking the driver more often would hold up who is measured
            found = {"gpu": self.gpu() - self.before} if self.device.startswith("cuda") else {}
            try:
                with open(f"/proc/{self.pid}/status") as file:
                    lines = dict(line.split(":", 1) for line in file)
                found["host"] = int(lines["VmHWM"].split()[0]) * 1024
            except (OSError, KeyError):
                pass
            for key, value in found.items():
                self.peak[key] = max(self.peak.get(key, 0), value)

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.peak


class Check:
    """The whole check: options, program, figures."""

    def __init__(self, options, figures, folder):
        self.options, self.figures, self.folder = options, figures, pathlib.Path(folder)
        self.device, self.quick = options.device, options.quick
        self.deadline = time.monotonic() + options.minutes * 60
        self.program, libraries = self.find_program()
        self.environment = {**os.environ, "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "scripts")}
        for name in ("SDVIZ_MODEL", "RUST_BACKTRACE"):  # with the second every panic is printed, those too that become errors
            self.environment.pop(name, None)
        self.environment.update(libraries)
        self.pocket = str(ROOT / "assets/pocket") if (ROOT / "assets/pocket/model_index.json").exists() else "pocket"
        self.tiny = str(ROOT / "tests/goldens/tiny-sd")

    def find_program(self):
        named = self.options.program
        if named:
            return pathlib.Path(named).resolve(), {}
        if PACKED.exists():
            return unpacked(self.folder)
        for place in ("target/release/sdviz", "target/debug/sdviz"):
            if (ROOT / place).exists():
                return ROOT / place, {}
        raise SystemExit("error: there is no program to check\nhint: `cargo build`, or name one with `--program`")


class Part:
    """One part of the check, with its own time."""

    def __init__(self, check, name, seconds):
        self.check, self.name = check, name
        self.started = time.monotonic()
        self.deadline = min(self.started + seconds, check.deadline)
        self.failed, self.done = [], 0

    def left(self):
        return self.deadline - time.monotonic()

    def put(self, key, value):
        self.check.figures.put("parts", self.name, key, value)

    def run(self, words, limit=120, environment=None, watch=False, expect=0):
        """Runs a process; `expect` is the exit code it should have, None for any."""
        limit = min(limit, self.left())
        if limit < 1:
            raise OutOfTime
        environment = {**self.check.environment, **(environment or {})}
        started = time.monotonic()
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=environment, cwd=self.check.folder, start_new_session=True)
        memory = Memory(self.check.device, process.pid) if watch else None
        ended = False
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            ended = True
        code = None if ended else process.returncode
        done = Finished(code, time.monotonic() - started, out, err, memory.stop() if memory else {})
        if ended and self.left() < 1:
            raise OutOfTime
        if expect is not None:
            why = f"ended after {limit:.0f} s" if ended else f"exit code {code}, expected {expect}"
            need(code == expect, f"{why}: {' '.join(map(str, words))[:300]}\n{last_lines(err)}")
        return done

    def sdviz(self, *words, **more):
        return self.run([self.check.program, *words], **more)

    def case(self, name, work):
        """Does `work`, which gives figures or raises, and writes down what came of it."""
        started = time.monotonic()
        try:
            if self.left() < 1:
                raise OutOfTime
            found = {"ok": True, **(work() or {})}
        except OutOfTime:
            found = {"ok": None, "why": "no time was left"}
        except Wrong as wrong:
            found = {"ok": False, "why": str(wrong)}
        except Exception:  # noqa: BLE001: whatever it is, the other cases go on
            found = {"ok": False, "why": traceback.format_exc(limit=4)}
        found["seconds"] = round(time.monotonic() - started, 3)
        self.check.figures.put("parts", self.name, "cases", name, found)
        self.done += found["ok"] is True
        if found["ok"] is False:
            self.failed.append(name)
            lines = found["why"].strip().splitlines()
            # Of an exception the last line tells most, of a process the first that it says.
            print(f"  {self.name}: {name}: {lines[-1 if lines[0].startswith('Traceback') else 0][:200]}", flush=True)
            for line in lines[1:]:
                if line.startswith("error:"):
                    print(f"    {line[:200]}", flush=True)
        return found

    def cases(self, all_of_them, at_once):
        """Several cases, so many at a time."""
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda case: self.case(*case), all_of_them))


def last_lines(text, count=6):
    return "\n".join(text.strip().splitlines()[-count:])
