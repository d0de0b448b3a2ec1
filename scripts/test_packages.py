#!/usr/bin/env python3
"""Tries the packages as somebody would who has just fetched them.

    python3 scripts/test_packages.py wheel           # target/wheel/*.whl in a fresh venv, beside PyTorch as pip finds it
    python3 scripts/test_packages.py wheel --index URL    # the same beside PyTorch from there, such as the CPU's alone
    python3 scripts/test_packages.py dist            # target/dist/*.tar.* unpacked elsewhere, with an empty environment

Nothing of this project's folders is used but the packages.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import packing

PROMPT = ["trace", "--prompt", "a red apple on a blue background", "--steps", "10"]


def newest(folder, pattern):
    found = sorted((packing.ROOT / "target" / folder).glob(pattern))
    if not found:
        packing.fail(f"there is no package in target/{folder}", f"make {folder}")
    return found[-1].resolve()


def run(command, expected=0, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    if done.returncode != expected:
        sys.exit(f"error: {' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def traces(program, at, environment):
    """Draws, and looks at what is there. How long it took."""
    begun = time.time()
    run([*program, *PROMPT, "--out", "run"], cwd=at, env=environment)
    picture = at / "run/final.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and (at / "run/index.html").is_file()
    run([*program, "shapes", "run"], cwd=at, env=environment)
    return time.time() - begun


def check(holds, what):
    if not holds:
        sys.exit(f"error: {what}")


def try_wheel(at, options):
    wheel = newest("wheel", "*.whl")
    begun = time.time()
    run([sys.executable, "-m", "venv", at / "venv"])
    python, program = at / "venv/bin/python", at / "venv/bin/sdviz"
    environment = {"PATH": f"{at / 'venv/bin'}:/usr/bin:/bin", "HOME": str(at)}
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "-q", "--no-deps", wheel])
    said = run([program, "--version"], expected=2, cwd=at, env=environment)
    check("needs PyTorch 2.13, and this Python has none" in said and "hint: " in said, f"without PyTorch: {said}")
    other = at / "other/torch"
    (other / "lib").mkdir(parents=True)
    (other / "lib/libtorch_cpu.so").touch()
    (other / "version.py").write_text("__version__ = '2.11.0+cpu'\n")
    said = run([program, "--version"], expected=2, cwd=at, env={**environment, "PYTHONPATH": str(other.parent)})
    check("is 2.11.0+cpu" in said, f"with another PyTorch: {said}")
    print("without PyTorch and with another one, it says so")
    if options.torch:
        (pathlib.Path(next((at / "venv/lib").glob("python3.*"))) / "site-packages/there.pth").write_text(f"{options.torch}\n")
        print(f"PyTorch is the one in {options.torch}")
    else:
        run([*pip, "install", "-q", "--no-cache-dir", wheel, "torch==2.13.0", *(["--extra-index-url", options.index] if options.index else [])])
        print(f"venv, wheel and PyTorch {options.index or 'as pip finds it'}: {time.time() - begun:.0f} s")
    check(run([program, "--version"], cwd=at, env=environment).startswith("sdviz "), "no version")
    took = traces([program], at, environment)
    print(f"the first picture and its shapes: {took:.1f} s; from nothing to there: {time.time() - begun:.0f} s")
    check(run([python, "-m", "sdviz", "--version"], cwd=at, env=environment).startswith("sdviz "), "python -m sdviz")
    starts = []
    for _ in range(5):
        once = time.time()
        run([program, "--version"], cwd=at, env=environment)
        starts.append(time.time() - once)
    print(f"a start: {min(starts) * 1000:.0f} ms")
    run([python, "-c", "import importlib.util as u; assert u.find_spec('sdviz_trace')"], cwd=at, env=environment)


def try_dist(at, options):
    archive = newest("dist", "*.tar.*")
    begun = time.time()
    run(["tar", "xf", archive, "-C", at])
    print(f"unpacked in {time.time() - begun:.1f} s")
    folder = next(at.glob("sdviz-*"))
    linked = run(["ldd", folder / "bin/sdviz"], env={"PATH": "/usr/bin:/bin"})
    for name in ("libtorch_cpu.so", "libc10.so"):
        line = next(line for line in linked.splitlines() if name in line)
        check(str(folder) in os.path.realpath(line.split("=>")[1].split("(")[0].strip()), f"not its own library: {line}")
    check("not found" not in linked, linked)
    print(f"the first picture and its shapes, with an empty environment: {traces([folder / 'bin/sdviz'], at, {}):.1f} s")
    check((folder / "share/man/man1/sdviz-trace.1").is_file() and (folder / "licenses/LICENSE-libtorch").is_file(), "files are missing")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("package", choices=["wheel", "dist"])
    parser.add_argument("--torch", type=pathlib.Path, help="site-packages with PyTorch 2.13, in place of the network")
    parser.add_argument("--index", help="where PyTorch comes from, such as the index of its builds for the CPU alone")
    parser.add_argument("--folder", type=pathlib.Path, help="where to try it, and to leave it [default: a temporary folder]")
    options = parser.parse_args()
    at = options.folder or pathlib.Path(tempfile.mkdtemp(prefix="sdviz-package-"))
    at.mkdir(parents=True, exist_ok=True)
    try:
        (try_wheel if options.package == "wheel" else try_dist)(at.resolve(), options)
    finally:
        if not options.folder:
            shutil.rmtree(at)


if __name__ == "__main__":
    main()
