"""Image files that decode without an error to something else than what people see in them. Needs no TensorFlow."""

from __future__ import annotations

import struct
import warnings
from typing import IO

from PIL import Image

UNREADABLE = (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError)
"""What Pillow, and a look at the bytes, raise at damaged files."""
MOST_PIXELS = 50_000_000
"""A file of some kilobytes can decode to gigabytes. Photographs of 48 megapixels pass, which take half a gigabyte."""
# MPO is a JPEG with more pictures behind it, as some telephones make them.
_KINDS = ("PNG", "JPEG", "MPO", "BMP", "GIF")
# What begins a part of a GIF.
_PICTURE, _EXTENSION = 0x2C, 0x21


def image_fault(file: IO[bytes]) -> str | None:
    """What is wrong with an image file that TensorFlow's decoder would silently show otherwise; None if nothing is.

    Of most files only the beginning is read. Those that cannot be decoded at all are no fault here: the decoder says
    so itself, and better. `export.graph.image_bytes` finds the same faults inside a served graph.
    """
    too_many = f"it has more than {MOST_PIXELS:,} pixels, all pictures of an animation together: make it smaller"
    try:
        # Pillow warns of sizes that are judged here.
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(file) as image,
        ):
            if image.width * image.height > MOST_PIXELS:
                return too_many
            if image.format == "GIF" and gif_pixels(file) > MOST_PIXELS:
                return too_many
            if image.format not in _KINDS:
                return f"its format is {image.format}, whatever its name says: save it as PNG"
            if image.format == "BMP":
                return _bmp_fault(file, image.mode)
            if _is_transparent(image):
                return (
                    "it has transparent pixels, which would show hidden colours (often black): save it on a "
                    "background, without transparency"
                )
    except Image.DecompressionBombError:
        return too_many
    except UNREADABLE:
        return None
    return None


def gif_pixels(file: IO[bytes]) -> int:
    """The pixels of all pictures of a GIF together, as their descriptors say (GIF89a, 20 and 23).

    TensorFlow's decoder makes all of them, each of its own size, to give the first.
    """
    file.seek(0)
    content = file.read()
    place, pixels = 13 + _colours(content, 10), 0
    while place < len(content):
        kind = content[place]
        if kind == _PICTURE and place + 10 <= len(content):
            width, height = struct.unpack_from("<HH", content, place + 5)
            pixels += width * height
            # Behind the descriptor and its colours stands how the codes begin.
            place += 11 + _colours(content, place + 9)
        elif kind == _EXTENSION:
            place += 2
        else:
            break
        while place < len(content) and content[place]:
            place += 1 + content[place]
        place += 1
    return pixels


def _colours(content: bytes, place: int) -> int:
    """How long the table of colours is that the flags there announce, in bytes."""
    flags = content[place] if place < len(content) else 0
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


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
