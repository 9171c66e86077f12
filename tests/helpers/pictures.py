"""Image files of every kind that people have: sound ones with what is seen in them, turned ones, and faulty ones."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from tests.helpers.drawn_images import pixels


def saved(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(image: Image.Image, kind: str, orientation: int, endian: str = "<") -> bytes:
    """A file that asks to be shown turned."""
    tag = Image.Exif()
    tag[0x010F], tag[0x0112] = "maker", orientation
    tag.endian = endian
    return saved(image, kind, exif=tag.tobytes(), **({"quality": 95} if kind == "JPEG" else {}))


def seen(content: bytes) -> np.ndarray:
    """What a viewer shows, `[height, width, 3]`."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


COLOUR = Image.fromarray(pixels(0))
_ALPHA = np.full((10, 12), 255, np.uint8)
_ALPHA[0, 0] = 254
SEE_THROUGH = Image.fromarray(np.dstack([pixels(0), _ALPHA]))
_DEEP = Image.fromarray((np.arange(120).reshape(10, 12) * 500).astype(np.uint16))


def _bmp(bits: int = 24, compression: int = 0) -> bytes:
    data = bytearray(saved(COLOUR, "BMP"))
    data[28:30], data[30:34] = bits.to_bytes(2, "little"), compression.to_bytes(4, "little")
    return bytes(data)


def _commented(orientation: int) -> bytes:
    """A JPEG that speaks of an orientation in a comment only."""
    tag = Image.Exif()
    tag[0x0112] = orientation
    comment, plain = tag.tobytes(), saved(COLOUR, "JPEG", quality=95)
    return plain[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + plain[2:]


FAULTY = {
    "transparent": saved(SEE_THROUGH, "PNG"),
    "transparent grey": saved(SEE_THROUGH.convert("LA"), "PNG"),
    "transparent entry of a palette": saved(COLOUR.quantize(8), "PNG", transparency=0),
    "transparent colour": saved(COLOUR, "PNG", transparency=tuple(map(int, pixels(0)[0, 0]))),
    "transparent GIF": saved(COLOUR.quantize(8), "GIF", transparency=0),
    "WebP": saved(COLOUR, "WEBP"),
    "TIFF": saved(COLOUR, "TIFF"),
    "BMP with a palette": saved(COLOUR.quantize(8), "BMP"),
    "BMP of 1 bit": saved(COLOUR.convert("1"), "BMP"),
    "BMP of 32 bits": saved(COLOUR.convert("RGBA"), "BMP"),
    "compressed BMP": _bmp(compression=1),
}
SOUND = {
    "opaque": saved(COLOUR.convert("RGBA"), "PNG"),
    "opaque grey": saved(COLOUR.convert("LA"), "PNG"),
    "palette": saved(COLOUR.quantize(8), "PNG"),
    "1 bit": saved(COLOUR.convert("1"), "PNG"),
    "grey": saved(COLOUR.convert("L"), "PNG"),
    "16 bits": saved(_DEEP, "PNG"),
    "JPEG": saved(COLOUR, "JPEG", quality=95),
    "grey JPEG": saved(COLOUR.convert("L"), "JPEG", quality=95),
    "progressive JPEG": saved(COLOUR, "JPEG", quality=95, progressive=True),
    "CMYK JPEG": saved(COLOUR.convert("CMYK"), "JPEG", quality=95, subsampling=0),
    "JPEG with Exif in a comment": _commented(6),
    "BMP": saved(COLOUR, "BMP"),
    "grey BMP": saved(COLOUR.convert("L"), "BMP"),
    "GIF": saved(COLOUR, "GIF"),
    "animated GIF": saved(COLOUR, "GIF", save_all=True, append_images=[COLOUR.rotate(180)], disposal=2),
}
TURNED = {
    f"{kind}, orientation {orientation}, {endian}": turned(COLOUR, kind, orientation, endian)
    for kind in ("PNG", "JPEG")
    for orientation in range(10)
    for endian in ("<>" if orientation == 6 else "<")
}
