#!/usr/bin/env python3
"""Packs what the GPU check needs into one file, to be carried to a machine that has neither network nor Rust:

    python3 scripts/gpu/pack.py                        # builds the program for torch 2.11.0 (Python 3.12) first
    python3 scripts/gpu/pack.py --torch 2.13.0         # for another one
    python3 scripts/gpu/pack.py --program target/debug/sdviz    # packs a program that is there

The program is linked against the libtorch that the other machine's Python torch brings: its wheel is fetched (about 0.6 GB,
without the NVIDIA libraries), and of an older one than torch-sys 0.26 is made for, a copy of torch-sys is built in which the
functions that it lacks throw instead; nothing here calls them. There the check tells it where the libraries are. The first
build takes half an hour of one core in a target folder of its own. Users do not need this: they build against libtorch 2.13 (`make libtorch-cuda`).

Leaves .gpu/gpu-check.tar and says what to type on the other machine.
"""
import argparse
import io
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIFFUSERS = "0.42.1"
MOST = 60 * 2**20
# What torch-sys 0.26, made for libtorch 2.13, calls and 2.11 does not have.
NOT_IN_2_11 = [
    "_flash_attention_forward_no_dropout_inplace", "_philox_key_fold_in", "_philox_key_split", "_philox_normal", "_philox_normal_",
    "_philox_normal_out", "_philox_uniform", "_philox_uniform_", "_philox_uniform_out", "_scaled_dot_product_attention_math_for_mps",
    "_upsample_lanczos2d_aa", "_upsample_lanczos2d_aa_backward", "_upsample_lanczos2d_aa_backward_out", "_upsample_lanczos2d_aa_out"]
# The scripts, and of the tests the goldens and models that the check compares with.
CARRIED = ["scripts/gpu_check.py", "scripts/bench_diffusers.py", "scripts/gpu", "tests/goldens/tiny-sd", "tests/goldens/tiny-sd2",
           "tests/goldens/lora", "assets/pocket.toml", "assets/pocket-dataset.toml", *(f"tests/goldens/{name}.safetensors" for name in
                                   ("tiny-sd", "tiny-sd2", "pocket", "img2img", "inpaint"))]


def wheel(name, version, out, *more):
    """A wheel, fetched unless it is there."""
    found = next(out.glob(f"{name}-{version}*.whl"), None)
    if found is None:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *more, "-d", out,
                        f"{name}=={version}"], check=True)
        found = next(out.glob(f"{name}-{version}*.whl"))
    return found


def libtorch(version, out):
    """Headers and libraries of a torch wheel."""
    folder = out / f"torch-{version}"
    if not (folder / "torch/lib/libtorch_cuda.so").exists():
        file = wheel("torch", version, out, "--python-version", "3.12", "--platform", "manylinux_2_28_x86_64")
        with zipfile.ZipFile(file) as packed:
            for name in packed.namelist():
                if name.startswith(("torch/include/", "torch/lib/")) or name == "torch/version.py":
                    packed.extract(name, folder)
        file.unlink()
    return folder / "torch"


def torch_sys(out):
    """A copy of torch-sys in which the functions that libtorch 2.11 lacks throw."""
    folder = out / "torch-sys"
    if not folder.exists():
        subprocess.run(["cargo", "fetch", "-q"], check=True, cwd=ROOT)
        home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
        shutil.copytree(next(home.glob("registry/src/*/torch-sys-0.26.0")), folder)
        source = folder / "libtch/torch_api_generated.cpp"
        text = source.read_text()
        for name in NOT_IN_2_11:
            call = r"  PROTECT\(\n(?:(?!\n  \)\n)[\s\S])*?torch::" + re.escape(name) + r"\([\s\S]*?\n  \)\n"
            text = re.sub(call, '  PROTECT(throw std::runtime_error("not in this libtorch");)\n', text)
        source.write_text(text)
    return folder


def build(options, out):
    """The program, linked against the other machine's libtorch."""
    torch = libtorch(options.torch, out)
    linker = out / "linker"  # flags in RUSTFLAGS would have every dependency compiled again
    linker.write_text('#!/bin/sh\nexec cc "$@" -Wl,--allow-shlib-undefined\n')
    linker.chmod(0o755)
    target = pathlib.Path(options.target or out / "target").resolve()
    environment = {**os.environ, "LIBTORCH": str(torch), "LIBTORCH_BYPASS_VERSION_CHECK": "1", "LIBTORCH_CXX11_ABI": "1",
                   "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER": str(linker), "CARGO_TARGET_DIR": str(target)}
    patch = ["--config", f'patch.crates-io.torch-sys.path="{torch_sys(out)}"'] if options.torch.startswith("2.11.") else []
    subprocess.run(["cargo", *patch, "build", "--release", "--bin", "sdviz"], check=True, env=environment, cwd=ROOT)
    return target / "release/sdviz"


def packed(program, out):
    """The program without symbols, compressed."""
    stripped = out / "sdviz"
    subprocess.run(["strip", "-o", stripped, program], check=True)
    return lzma.compress(stripped.read_bytes(), preset=6)


def add(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, help="a program that is there, in place of building one")
    parser.add_argument("--torch", default="2.11.0", help="the other machine's torch [default: 2.11.0]")
    parser.add_argument("--target", help="target folder [default: .gpu/target]")
    parser.add_argument("--no-diffusers", action="store_true", help="do not bring diffusers along")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / ".gpu")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    program = options.program or build(options, out)
    file = out / "gpu-check.tar"
    with tarfile.open(file, "w", dereference=True) as tar:  # of some files only links are in the tree
        add(tar, "bin/sdviz.xz", packed(program, out))
        for name in CARRIED:
            tar.add(ROOT / name, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
        if (out / "icons").is_dir():  # what scripts/gpu/trim_icons.py left, for scripts/gpu/train_pocket.py
            tar.add(out / "icons", ".gpu/icons")
        if not options.no_diffusers:
            # A machine without diffusers may have all that it needs beside.
            tar.add(wheel("diffusers", DIFFUSERS, out), "bin/diffusers.whl")
    size = file.stat().st_size
    print(f"{file}: {size / 2**20:.1f} MiB")
    print("there: mkdir check && tar xf gpu-check.tar -C check && cd check && python3 scripts/gpu_check.py")
    if size > MOST:
        sys.exit(f"error: that is more than the {MOST >> 20} MiB that it should be\nhint: `--no-diffusers`")


if __name__ == "__main__":
    main()
