"""Image files that decode without an error to something else than what people see in them."""

from __future__ import annotations

from typing import IO

from PIL import Image

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises at damaged files."""


def image_fault(file: IO[bytes]) -> str | None:
    """What is wrong with an image file that TensorFlow's decoder would silently show otherwise; None if nothing is.

    Of most files only the beginning is read. Those that cannot be decoded at all are no fault here: the decoder says
    so itself, and better.
    """
    try:
        with Image.open(file) as image:
            if image.format == "BMP" and image.mode == "P":
                return "it is a BMP with a palette, whose colours would be lost: save it as PNG"
            if image.format == "PNG" and _is_transparent(image):
                return (
                    "it has transparent pixels, in whose place hidden colours would show (often black): save it on a "
                    "background, without transparency"
                )
    except UNREADABLE:
        return None
    return None


def _is_transparent(image: Image.Image) -> bool:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return False
    least, _ = image.convert("RGBA").getchannel("A").getextrema()
    return least != 255
