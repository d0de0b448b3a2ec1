"""Packs pictures tighter: the library's PNGs are made to be quick, a notebook's are kept."""
import base64
import io

from PIL import Image

# Colours that a palette can hold.
MOST = 256


def pack(outputs, largest=None):
    """Pixel for pixel; but a PNG of more bytes than `largest` is left with 256 colours, chosen for it by k-means."""
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            packed = tight(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))), largest)
            data["image/png"] = base64.b64encode(packed).decode()
    return outputs


def tight(picture, largest):
    whole = png(picture)
    few = picture.mode == "RGB" and picture.getcolors(MOST) is not None
    large = picture.mode == "RGB" and largest is not None and len(whole) > largest
    if not few and not large:
        return whole
    palette = picture.quantize(MOST, kmeans=1, dither=Image.Dither.NONE)
    exact = palette.convert("RGB").tobytes() == picture.tobytes()
    return min(whole, png(palette), key=len) if exact or large else whole


def png(picture):
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True)
    return packed.getvalue()
