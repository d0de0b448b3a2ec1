#!/usr/bin/env python3
"""Packs the program as a wheel, which finds libtorch in the PyTorch that is installed beside it:

    python3 scripts/wheel.py                                   # packs target/debug/sdviz
    pip install target/wheel/sdviz-*.whl

In it: the program, the launcher (python/sdviz), and python/*.py: the recorder for diffusers and what writes for rerun. The program does not
depend on Python's version, so one wheel is for all.
"""
import argparse
import base64
import hashlib
import pathlib
import tempfile
import time
import zipfile

import packing

METADATA = """Metadata-Version: 2.3
Name: sdviz
Version: {version}
Summary: Shows what happens inside Stable Diffusion: a traced pipeline on libtorch, and exporters that draw from its record
License-Expression: MIT OR Apache-2.0
Requires-Python: >=3.9
Requires-Dist: torch>=2.13,<2.14
Provides-Extra: trace
Requires-Dist: diffusers; extra == "trace"
Requires-Dist: transformers; extra == "trace"
Description-Content-Type: text/markdown

{readme}"""
WHEEL = "Wheel-Version: 1.0\nGenerator: sdviz scripts/wheel.py\nRoot-Is-Purelib: false\nTag: {tag}\n"
ENTRY_POINTS = "[console_scripts]\nsdviz = sdviz.__main__:main\n"


def files(program):
    """What the wheel holds: name, bytes, whether it can be started."""
    number = packing.version()
    data = packing.program(program)
    # torch itself is for glibc 2.28 and newer.
    glibc = max(packing.newest_glibc(data), (2, 28))
    tag = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_x86_64"
    info = f"sdviz-{number}.dist-info"
    python = packing.ROOT / "python"
    found = [(path.relative_to(python).as_posix(), path.read_bytes(), False) for path in sorted(python.rglob("*.py"))]
    found.append(("sdviz/bin/sdviz", data, True))
    readme = (packing.ROOT / "docs/python.md").read_text()
    with tempfile.TemporaryDirectory() as folder:
        licences = pathlib.Path(folder)
        packing.write_licences(licences / "crates")
        for path in sorted(path for path in licences.rglob("*") if path.is_file()):
            found.append((f"{info}/licenses/{path.relative_to(licences).as_posix()}", path.read_bytes(), False))
    for name in ("LICENSE-MIT", "LICENSE-APACHE", "assets/LICENSES.md"):
        found.append((f"{info}/licenses/{name}", (packing.ROOT / name).read_bytes(), False))
    found.append((f"{info}/METADATA", METADATA.format(version=number, readme=readme).encode(), False))
    found.append((f"{info}/WHEEL", WHEEL.format(tag=tag).encode(), False))
    found.append((f"{info}/entry_points.txt", ENTRY_POINTS.encode(), False))
    return found, f"{info}/RECORD", f"sdviz-{number}-{tag}.whl"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=packing.ROOT / "target/debug/sdviz")
    parser.add_argument("--out", type=pathlib.Path, default=packing.ROOT / "target/wheel")
    options = parser.parse_args()
    found, record, name = files(options.program)
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("sdviz-*.whl"):
        old.unlink()
    lines = []
    when = time.gmtime(packing.stamp())[:6]
    with zipfile.ZipFile(options.out / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data, starts in [*found, (record, None, False)]:
            if data is None:
                data = "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{path},sha256={digest},{len(data)}")
            entry = zipfile.ZipInfo(path, when)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if starts else 0o100644) << 16
            wheel.writestr(entry, data)
    print(f"{options.out / name}: {(options.out / name).stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
