#!/usr/bin/env python3
"""Put a libtorch 2.13 where `cargo build` finds it: the folder (or link) `libtorch` in the project.

    python3 scripts/setup_libtorch.py [--cuda] [--force] [--wheel FILE]

The first of these that holds libtorch 2.13 is taken:
  1. the folder named by LIBTORCH
  2. an installed Python torch 2.13, when LIBTORCH_USE_PYTORCH=1
  3. the `libtorch` that an earlier run left
  4. a new one, made from the torch 2.13.0 wheel: CPU only by default (about 460 MiB on disk), or with --cuda the full
     wheel and the NVIDIA libraries it depends on (about 5 GB)

Needs Python 3.8 or later with pip, and a C compiler for three tiny stand-in libraries. Nothing outside the project is
changed; a broken download is removed again.
"""
import argparse
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

VERSION = "2.13.0"
ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACE = ROOT / "libtorch"
WHEEL = f"torch-{VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7"
LIBRARIES = ["libtorch_cpu.so", "libc10.so", "libgomp.so.1"]

# libtorch_cpu.so of the published wheel names two CUDA libraries it calls only when a GPU is there. These stand in for
# them in the CPU-only folder and answer "no device" to everything.
CUDART = "cudaDeviceSynchronize cudaDriverGetVersion cudaGetDeviceCount cudaGetDeviceProperties cudaGetErrorString cudaRuntimeGetVersion".split()
CUPTI = """cuptiActivityDisable cuptiActivityEnable cuptiActivityEnableCudaEventDeviceTimestamps
cuptiActivityEnableDriverApi cuptiActivityEnableRuntimeApi cuptiActivityFlushAll cuptiActivityGetNextRecord
cuptiActivityGetNumDroppedRecords cuptiActivityPopExternalCorrelationId cuptiActivityPushExternalCorrelationId
cuptiActivityRegisterCallbacks cuptiActivityRegisterTimestampCallback cuptiActivitySetAttribute cuptiEnableCallback
cuptiEnableDomain cuptiFinalize cuptiGetCallbackName cuptiGetResultString cuptiGetVersion cuptiSubscribe
cuptiUnsubscribe""".split()


def say(text):
    print(f"libtorch: {text}", flush=True)


def fail(text, hint):
    sys.exit(f"libtorch: error: {text}\nhint: {hint}")


def run(*command):
    subprocess.run([str(c) for c in command], check=True)


def version_in(folder):
    """The version a libtorch folder says it is (`build-version`, or a Python torch's `version.py`), or None."""
    for name, pick in (("build-version", lambda t: t), ("version.py", lambda t: t.split("__version__ = '")[1].split("'")[0])):
        try:
            return pick((folder / name).read_text()).strip()
        except (OSError, IndexError):
            continue
    return None


def usable(folder):
    """Whether the folder holds libtorch VERSION whole: headers, libraries, version."""
    version = version_in(folder)
    return (version is not None and version.split("+")[0] == VERSION
            and (folder / "include/torch/csrc/api/include/torch/torch.h").is_file()
            and all((folder / "lib" / n).is_file() for n in ("libtorch.so", "libtorch_cpu.so", "libc10.so")))


def link(folder):
    folder = folder.resolve()
    if PLACE.is_symlink():
        PLACE.unlink()
    elif PLACE.exists() and PLACE.resolve() != folder:
        fail(f"`{PLACE}` is a folder of its own, so it cannot become a link to `{folder}`",
             f"remove it first: rm -r {PLACE}")
    if PLACE.resolve() != folder:
        PLACE.symlink_to(folder)


def python_torch():
    """The folder of the installed Python torch, without importing it (importing takes seconds)."""
    code = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    python = "python" if os.environ.get("VIRTUAL_ENV") else sys.executable
    found = subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()
    return pathlib.Path(found) if found else None


def pip_download(folder):
    say(f"fetching the torch {VERSION} wheel with pip (about 500 MiB)")
    try:
        run(sys.executable, "-m", "pip", "download", "-q", "--no-cache-dir", "--no-deps", "--disable-pip-version-check",
            "--python-version", "3.11", "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64",
            "-d", folder, f"torch=={VERSION}")
    except subprocess.CalledProcessError:
        fail("pip could not fetch the wheel (see its message above)",
             "check the network and `python3 -m pip --version`, or name a libtorch 2.13 with LIBTORCH=/path/to/libtorch")
    return folder / WHEEL


def check_wheel(wheel):
    digest = hashlib.sha256()
    try:
        with open(wheel, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        fail(f"cannot read `{wheel}`: {error.strerror}", "give --wheel a torch wheel on disk, or leave it away")
    if digest.hexdigest() != WHEEL_SHA256:
        fail(f"`{wheel}` is not the expected {WHEEL}: sha256 {digest.hexdigest()}, expected {WHEEL_SHA256}",
             "the download is damaged or is another version: run the command again")


def stand_in(lib, soname, symbols, answer, compiler, tmp):
    """A shared object with the right name and symbol version whose functions all answer `answer`."""
    source, versions = tmp / "stand_in.c", tmp / "stand_in.map"
    source.write_text("".join(
        f'const char *{s}(void){{return "no CUDA in this libtorch";}}\n' if s == "cudaGetErrorString"
        else f"int {s}(void){{return {answer};}}\n" for s in symbols))
    versions.write_text(f"{soname} {{ global: {'; '.join(symbols)}; local: *; }};\n")
    run(compiler, "-shared", "-fPIC", "-O1", "-w", "-s", "-nostdlib", f"-Wl,-soname,{soname}",
        f"-Wl,--version-script,{versions}", "-o", lib / soname, source)


def unpack_cpu(wheel, new, tmp):
    """The CPU part of the wheel: headers, three libraries, and stand-ins for what it names but does not need."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        fail(f"no C compiler `{compiler}`", "install one (Debian: apt-get install g++), or set CC")
    lib = new / "lib"
    lib.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:  # reading a member to its end checks its CRC
        for name in archive.namelist():
            if name.startswith("torch/include/") and not name.endswith("/"):
                to = new / name[len("torch/"):]
            elif name == f"torch-{VERSION}.dist-info/licenses/LICENSE":
                to = new / "LICENSE"  # goes with the libraries wherever they are passed on (`make dist`)
            elif name.startswith("torch/lib/") and name[len("torch/lib/"):] in LIBRARIES:
                to = lib / name[len("torch/lib/"):]
            else:
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(to, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    stand_in(lib, "libcudart.so.13", CUDART, 100, compiler, tmp)  # 100 = cudaErrorNoDevice
    stand_in(lib, "libcupti.so.13", CUPTI, 15, compiler, tmp)     # 15 = CUPTI_ERROR_NOT_INITIALIZED
    empty = tmp / "empty.c"
    empty.write_text("")
    run(compiler, "-shared", "-fPIC", "-s", "-nostdlib", "-Wl,-soname,libtorch.so", "-Wl,-rpath,$ORIGIN",
        "-Wl,--no-as-needed", f"-L{lib}", "-Wl,--allow-shlib-undefined", "-ltorch_cpu", "-lc10",
        "-o", lib / "libtorch.so", empty)
    (lib / "libgomp.so").symlink_to("libgomp.so.1")  # the bindings link -lgomp: take the wheel's copy
    (new / "build-version").write_text(f"{VERSION}+cpu\n")


def prepare(cuda, wheel):
    if sys.platform != "linux" or platform.machine() != "x86_64":
        fail(f"no ready recipe for {sys.platform} on {platform.machine()}",
             "install libtorch 2.13 (or Python's torch 2.13) yourself and set LIBTORCH=/path/to/libtorch")
    if PLACE.is_symlink():
        PLACE.unlink()
    # Made beside its final place and renamed into it, so an interrupted run leaves nothing that looks whole.
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="libtorch-", dir=ROOT))
    try:
        if cuda:
            say(f"fetching torch {VERSION} and the NVIDIA libraries with pip (about 3 GB)")
            try:
                run(sys.executable, "-m", "pip", "install", "-q", "--no-cache-dir", "--disable-pip-version-check",
                    "--target", tmp / "new", f"torch=={VERSION}")
            except subprocess.CalledProcessError:
                fail("pip could not install the full wheel (see its message above)",
                     "check the network and the free disk space, or name a libtorch 2.13 with LIBTORCH")
            final = ROOT / "libtorch-cuda"  # torch/ finds the NVIDIA libraries beside itself
            shutil.rmtree(final, ignore_errors=True)
            (tmp / "new").rename(final)
            if PLACE.exists():
                shutil.rmtree(PLACE)
            link(final / "torch")
        else:
            wheel = wheel or pip_download(tmp)
            check_wheel(wheel)
            say("unpacking its CPU part")
            try:
                unpack_cpu(wheel, tmp / "new", tmp)
            except (zipfile.BadZipFile, OSError) as error:
                fail(f"could not unpack `{wheel}`: {error}", "check the free disk space (1 GB) and run the command again")
            if PLACE.exists():
                shutil.rmtree(PLACE)
            (tmp / "new").rename(PLACE)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    if not usable(PLACE):
        fail(f"`{PLACE}` is not a whole libtorch {VERSION} after unpacking", "run again with --force")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true", help="the full wheel with CUDA instead of the CPU part")
    parser.add_argument("--force", action="store_true", help="make it anew even if a good one is there")
    parser.add_argument("--wheel", type=pathlib.Path, help="a torch wheel already on disk")
    options = parser.parse_args()

    named = os.environ.get("LIBTORCH")
    # Cargo sets LIBTORCH to our own folder inside builds; that one is candidate 3, not 1.
    if named and pathlib.Path(named).resolve() != PLACE.resolve():
        folder = pathlib.Path(named)
        if not usable(folder):
            fail(f"LIBTORCH=`{named}` holds {version_in(folder) or 'no libtorch'}, not a whole libtorch {VERSION}",
                 "point it at libtorch 2.13, or unset it and run again to have one fetched")
        link(folder)
        say(f"using LIBTORCH={named}")
        return
    if os.environ.get("LIBTORCH_USE_PYTORCH") not in (None, "", "0"):
        folder = python_torch()
        if folder is None or not usable(folder):
            fail(f"LIBTORCH_USE_PYTORCH is set, but Python has {version_in(folder) if folder else 'no torch'}",
                 f"python3 -m pip install torch=={VERSION}, or unset LIBTORCH_USE_PYTORCH")
        link(folder)
        say(f"using Python's torch in {folder}")
        return
    ready = usable(PLACE) and not options.force
    if ready and (not options.cuda or (PLACE / "lib/libtorch_cuda.so").exists()):
        say(f"{PLACE} already holds libtorch {version_in(PLACE)}")
        return
    prepare(options.cuda, options.wheel)
    size = sum(f.stat().st_size for f in PLACE.rglob("*") if f.is_file() and not f.is_symlink())
    say(f"{PLACE}: libtorch {version_in(PLACE)}, {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("libtorch: stopped; nothing half-made is left behind")
