#!/usr/bin/env python3
"""Packs the program and libtorch's CPU part into one archive that runs wherever it is unpacked, with nothing installed:

    python3 scripts/dist.py                          # packs target/debug/sdviz and libtorch/
    tar xf target/dist/sdviz-*.tar.zst && sdviz-*/bin/sdviz trace --prompt "a red apple"

In it: bin/sdviz, lib/ (libtorch's CPU part), share/ (completions, manual pages), python/, licenses/. It needs Linux
on x86-64 with the glibc that it names, and libstdc++.
"""
import argparse
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

import packing

LIBRARIES = ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13", "libtorch.so"]
SHELLS = {"bash": "bash-completion/completions/sdviz", "zsh": "zsh/site-functions/_sdviz", "fish": "fish/vendor_completions.d/sdviz.fish"}
README = """sdviz {version}, with libtorch 2.13 for the CPU.

    bin/sdviz trace --prompt "a red apple on a blue background"
    bin/sdviz --help

Nothing has to be installed: it needs Linux on x86-64, glibc {glibc} or newer, and libstdc++ (Debian and Ubuntu: libstdc++6).
For a GPU take the wheel, beside a PyTorch with CUDA, or build it: docs/install.md.

share/ has completions for bash, zsh and fish, and manual pages: `man -M share/man sdviz-trace`. To have them found, unpack
into /usr/local or ~/.local. python/sdviz_trace.py records diffusers' pipelines,
python/sdviz_rerun.py makes recordings for rerun. licenses/ says on whose work all of this stands.
"""


def fill(folder, options):
    """The files of the archive."""
    data = packing.program(options.program)
    program = folder / "bin/sdviz"
    program.parent.mkdir(parents=True)
    program.write_bytes(data)
    program.chmod(0o755)
    (folder / "lib").mkdir()
    for name in LIBRARIES:
        source = options.libtorch / "lib" / name
        if not source.is_file():
            packing.fail(f"there is no `{source}`", "make libtorch, for the CPU part, or name its folder with --libtorch")
        (folder / "lib" / name).write_bytes(source.read_bytes())
        (folder / "lib" / name).chmod(0o755)
    for shell, place in SHELLS.items():
        path = folder / "share" / place
        path.parent.mkdir(parents=True)
        path.write_bytes(run(program, "completions", shell))
    run(program, "man", "--out", folder / "share/man/man1")
    (folder / "python").mkdir()
    for name in ("sdviz_trace.py", "sdviz_rerun.py"):
        shutil.copyfile(packing.ROOT / "python" / name, folder / "python" / name)
    licences = folder / "licenses"
    count = packing.write_licences(licences / "crates")
    for name in ("LICENSE-MIT", "LICENSE-APACHE", "assets/LICENSES.md"):
        shutil.copyfile(packing.ROOT / name, licences / pathlib.Path(name).name)
    shutil.copytree(packing.ROOT / "crates/base/fonts", licences / "fonts", ignore=lambda _, names: [n for n in names if "LICENSE" not in n])
    torch = options.torch_licence or options.libtorch / "LICENSE"
    if not torch.is_file():
        packing.fail(f"`{torch}`, libtorch's licence, is not there",
                     "make libtorch anew (python3 scripts/setup_libtorch.py --force), or name the file with --torch-licence")
    shutil.copyfile(torch, licences / "LICENSE-libtorch")
    glibc = ".".join(map(str, packing.newest_glibc(data)))
    (folder / "README").write_text(README.format(version=packing.version(), glibc=glibc))
    return count


def run(program, *words):
    return subprocess.run([program, *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def clean(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = packing.stamp()
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=packing.ROOT / "target/debug/sdviz")
    parser.add_argument("--libtorch", type=pathlib.Path, default=packing.ROOT / "libtorch")
    parser.add_argument("--torch-licence", type=pathlib.Path, help="libtorch's licence [default: LICENSE in its folder]")
    parser.add_argument("--out", type=pathlib.Path, default=packing.ROOT / "target/dist")
    options = parser.parse_args()
    name = f"sdviz-{packing.version()}-linux-x86_64"
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as place:
        folder = pathlib.Path(place) / name
        count = fill(folder, options)
        packed = options.out / f"{name}.tar{'.zst' if shutil.which('zstd') else '.gz'}"
        plain = pathlib.Path(place) / f"{name}.tar"
        with tarfile.open(plain, "w") as tar:
            for path in sorted(folder.rglob("*")):
                tar.add(path, path.relative_to(place).as_posix(), recursive=False, filter=clean)
        command = ["zstd", "-q", "-f", "-12", "-T0"] if packed.suffix == ".zst" else ["gzip", "-n", "-6"]
        if packed.suffix == ".zst":
            subprocess.run([*command, plain, "-o", packed], check=True)
        else:
            with open(packed, "wb") as out:
                subprocess.run([*command, "-c", plain], check=True, stdout=out)
        unpacked = plain.stat().st_size
    print(f"{packed}: {packed.stat().st_size / 2**20:.0f} MiB, unpacked {unpacked / 2**20:.0f} MiB, licences of {count} crates")


if __name__ == "__main__":
    main()
