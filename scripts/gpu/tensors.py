"""Tensors and pictures as files, and how far two of them are apart. Needs torch and nothing else."""
import ctypes
import json
import math
import pathlib
import struct
import zlib

import torch

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read(path):
    """The tensors of a safetensors file by name, and its metadata."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + length]), memoryview(bytearray(data[8 + length:]))
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(body[begin:end], dtype=dtype) if end > begin else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, metadata


def write(path, shapes, dtype, make):
    """Writes a safetensors file of these names and shapes; `make(name, shape)` gives each tensor, one at a time."""
    header, at = {}, 0
    size = torch.empty(0, dtype=dtype).element_size()
    for name, shape in shapes.items():
        end = at + math.prod(shape) * size
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            tensor = make(name, shape).to(dtype).cpu().contiguous()
            file.write(ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()))


def relative(ours, golden):
    """Largest absolute difference over the largest absolute value of the golden; infinite where something is not finite."""
    if ours.shape != golden.shape:
        return math.inf
    ours, golden = ours.double(), golden.double()
    largest = golden.abs().max().item() if golden.numel() else 0.0
    difference = (ours - golden).abs().max().item() if golden.numel() else 0.0
    if not math.isfinite(difference):
        return math.inf
    return difference / largest if largest > 0 else difference


def apart(ours, golden):
    """How far two run directories are apart: by the kind of file the largest relative difference of any tensor.

    Kinds are the folders: steps, attention/cross, sites. Files or tensors that only one of them has are `missing`.
    """
    ours, golden = pathlib.Path(ours), pathlib.Path(golden)
    names = [{p.relative_to(folder) for p in folder.rglob("*.safetensors")} for folder in (ours, golden)]
    found, missing = {}, sorted(str(name) for name in names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        (a, _), (b, _) = read(ours / name), read(golden / name)
        missing += [f"{name}:{key}" for key in a.keys() ^ b.keys()]
        kind = str(name.parent)
        for key in a.keys() & b.keys():
            found[kind] = max(found.get(kind, 0.0), relative(a[key], b[key]))
    return found, missing


def read_png(path):
    """An 8-bit PNG, not interlaced, as `[height, width, channels]` in uint8."""
    data, at, packed = pathlib.Path(path).read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            channels = {0: 1, 2: 3, 6: 4}[colour]
            assert depth == 8, "8 bits a channel"
        elif kind == b"IDAT":
            packed += body
        at += length + 12
    raw_rows, row = zlib.decompress(packed), width * channels
    before, rows = bytearray(row), bytearray()
    for y in range(height):
        start = y * (row + 1)
        line = bytearray(raw_rows[start + 1:start + 1 + row])
        unfilter(raw_rows[start], line, before, channels)
        rows += line
        before = line
    return torch.frombuffer(rows, dtype=torch.uint8).reshape(height, width, channels).clone()


def unfilter(kind, line, above, channels):
    """Undoes a PNG row's filter in place (PNG specification, chapter 9)."""
    for i in range(len(line)):
        left = line[i - channels] if i >= channels else 0
        corner = above[i - channels] if i >= channels else 0
        if kind == 1:
            add = left
        elif kind == 2:
            add = above[i]
        elif kind == 3:
            add = (left + above[i]) // 2
        elif kind == 4:
            guess = left + above[i] - corner
            distances = (abs(guess - left), abs(guess - above[i]), abs(guess - corner))
            add = (left, above[i], corner)[distances.index(min(distances))]
        else:
            return
        line[i] = (line[i] + add) & 255


def write_png(path, picture):
    """Writes `[height, width]` or `[height, width, 3]` in uint8."""
    if picture.dim() == 2:
        picture = picture.unsqueeze(-1)
    height, width, channels = picture.shape
    flat = bytes(picture.reshape(-1).tolist())
    row = width * channels
    rows = b"".join(b"\0" + flat[y * row:(y + 1) * row] for y in range(height))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    pathlib.Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) +
                                   chunk(b"IEND", b""))


def psnr(ours, golden):
    """Peak signal-to-noise ratio of two pictures of 0 to 255, in dB; 99 for the same one."""
    error = (ours.double() - golden.double()).square().mean().item()
    return 99.0 if error == 0 else min(99.0, 10 * math.log10(255**2 / error))
