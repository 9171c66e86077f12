"""Image files that decode without an error to something else than what people see in them. Needs no TensorFlow."""

from __future__ import annotations

import struct
from typing import IO

from PIL import Image

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises at damaged files."""
# MPO is a JPEG with more pictures behind it, as some telephones make them.
_KINDS = ("PNG", "JPEG", "MPO", "BMP", "GIF")


def image_fault(file: IO[bytes]) -> str | None:
    """What is wrong with an image file that TensorFlow's decoder would silently show otherwise; None if nothing is.

    Of most files only the beginning is read. Those that cannot be decoded at all are no fault here: the decoder says
    so itself, and better. `export.graph.image_bytes` finds the same faults inside a served graph.
    """
    try:
        with Image.open(file) as image:
            if image.format not in _KINDS:
                return f"its format is {image.format}, whatever its name says: save it as PNG"
            if image.format == "BMP":
                return _bmp_fault(file, image.mode)
            if _is_transparent(image):
                return (
                    "it has transparent pixels, which would show hidden colours (often black): save it on a "
                    "background, without transparency"
                )
    except UNREADABLE:
        return None
    return None


def _bmp_fault(file: IO[bytes], mode: str) -> str | None:
    """The decoder takes the numbers of a palette for greys, packed rows for plain ones, and any 32 bits for colours."""
    file.seek(14)
    header, bits, compression = struct.unpack("<I10xHI", file.read(20))
    if mode == "P":
        return "it is a BMP with a palette, whose colours would be lost: save it as PNG"
    if header < 40 or compression or bits not in (8, 24):
        return "it is not a BMP with 24 bits per pixel and no compression: save it as PNG"
    return None


def _is_transparent(image: Image.Image) -> bool:
    if image.format == "GIF":
        # What the first frame declares: whether a pixel has that colour, a served graph could not tell.
        return "transparency" in image.info
    if "A" not in image.getbands() and "transparency" not in image.info:
        return False
    least, _ = image.convert("RGBA").getchannel("A").getextrema()
    return least != 255
