"""Image files: damaged, huge, and of kinds that look otherwise elsewhere."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.image_files import decode_contents
from tests.datasets.hostile.case import Case
from tests.helpers.drawn_images import pixels
from tests.helpers.pictures import COLOUR, FAULTY, saved

_SIZE = (4, 4)
WHITE = Image.new("RGB", (40, 30), "white")
PNG, JPEG, GIF, BMP = (saved(WHITE, kind) for kind in ("PNG", "JPEG", "GIF", "BMP"))
MANY = "more than 50,000,000 pixels"


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, kind: int = 0, rows: bytes | None = None, more: bytes = b"") -> bytes:
    """A PNG of zeros, or of `rows` as they are filtered."""
    rows = zlib.compress(bytes((width + 1) * height)) if rows is None else rows
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_bomb(side: int) -> bytes:
    """A thousandth of its pixels in bytes."""
    compressor = zlib.compressobj(9)
    rows = b"".join(compressor.compress(bytes(side + 1)) for _ in range(side))
    return png(side, side, rows=rows + compressor.flush())


def gif_bomb(frames: int, side: int = 4000) -> bytes:
    """A screen of a few pixels, and behind its picture ones that are far larger."""
    small, large = (saved(Image.new("L", (size, size)), "GIF") for size in (8, side))
    return small[:-1] + frames * large[large.index(b",") : -1] + b";"


def edited(content: bytes, place: int, new: bytes) -> bytes:
    """Other bytes in a place; negative ones count from the end."""
    place %= len(content)
    return content[:place] + new + content[place + len(new) :]


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG that claims to be of another size."""
    return edited(JPEG, JPEG.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def _image(content: bytes | Callable[[], bytes], expected: str | Callable[[np.ndarray], bool]) -> Case:
    def run(_: object) -> np.ndarray:
        made = content() if callable(content) else content
        return decode_contents([made], names=["it.png"], image_size=_SIZE, channels=3)[0]

    return Case(run, expected)


def _level(low: float, high: float | None = None) -> Callable[[np.ndarray], bool]:
    """Whether it is read, and how bright it is."""
    return lambda image: image.shape == (*_SIZE, 3) and low <= image.mean() <= (low if high is None else high)


_READ = _level(0, 255)
_BLACK, _BRIGHT = _level(0), _level(250, 255)
_DECODER = "it.png cannot be read as a PNG, JPEG, BMP or GIF image"
_DEEP = zlib.compress(b"".join(b"\0" + b"\x80\x00" * 12 for _ in range(4)))
_NOISE = saved(Image.fromarray(pixels(0, (200, 300))), "JPEG", quality=90)
_BLOCK = b"\x21\xfe" + b"\1x" * 9 + b"\0"

# Decided before anything is decoded.
REFUSED = {
    "PNG of 12,000 pixels a side": _image(lambda: png_bomb(12_000), MANY),
    "PNG that claims 7,072 pixels a side": _image(png(7072, 7072, rows=b""), MANY),
    "PNG that claims 50,000 pixels a side": _image(png(50_000, 50_000, rows=b""), MANY),
    "PNG that claims 2,147,483,647 pixels a side": _image(png(2**31 - 1, 2**31 - 1, rows=b""), MANY),
    "JPEG that claims 50,000 pixels a side": _image(jpeg_of_size(50_000, 50_000), MANY),
    "JPEG that claims 65,500 pixels a side": _image(jpeg_of_size(65_500, 65_500), MANY),
    "GIF that claims 60,000 pixels a side": _image(edited(GIF, 6, b"\x60\xea" * 2), MANY),
    "GIF with huge pictures behind a small one": _image(lambda: gif_bomb(20), MANY),
    "BMP that claims 50,000 pixels a side": _image(edited(BMP, 18, struct.pack("<ii", 50_000, 50_000)), MANY),
    "BMP that claims 50,000 pixels from the top": _image(edited(BMP, 18, struct.pack("<ii", 50_000, -50_000)), MANY),
    **{f"{name}": _image(content, "it.png cannot be used: ") for name, content in FAULTY.items()},
    "BMP of 16 bits": _image(edited(BMP, 28, b"\x10\0"), "cannot be used: it is not a BMP with 24 bits"),
    "PPM": _image(saved(WHITE, "PPM"), "its format is PPM"),
    "ICO": _image(saved(WHITE.resize((16, 16)), "ICO"), "its format is ICO"),
    "PCX": _image(saved(WHITE, "PCX"), "its format is PCX"),
    "EPS, which is a program": _image(saved(WHITE, "EPS"), "its format is EPS"),
    "JPEG 2000": _image(saved(WHITE, "JPEG2000"), "its format is JPEG2000"),
}
# Left to the decoder.
UNDECODABLE = {
    name: _image(content, _DECODER)
    for name, content in {
        "empty": b"",
        "zeros": bytes(100),
        "text": b"not an image",
        "a page of the web": b"<!DOCTYPE html><html>404</html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "zip": b"PK\x03\x04" + bytes(40),
        "half a PNG": PNG[: len(PNG) // 2],
        "PNG without its end": PNG[:-12],
        "PNG with a wrong checksum": edited(PNG, -16, b"abcd"),
        "PNG with flipped bits": edited(PNG, PNG.index(b"IDAT") + 12, bytes([PNG[PNG.index(b"IDAT") + 12] ^ 0x55])),
        "PNG of its signature": PNG[:8],
        "PNG of 0 x 0": png(0, 0),
        "PNG of 1 x 0": png(1, 0),
        "PNG of 3 bits": png(8, 8, depth=3),
        "PNG of kind 5": png(8, 8, kind=5),
        "PNG with a palette but none": png(8, 8, kind=3),
        "PNG without pixels": png(8, 8, rows=b""),
        "PNG with too few rows": png(8, 8, rows=zlib.compress(bytes(9 * 4))),
        "PNG with rows that do not unpack": png(8, 8, rows=b"garbage"),
        "half a JPEG": JPEG[: len(JPEG) // 2],
        "JPEG without its end": JPEG[:-2],
        "JPEG of its start": JPEG[:2],
        "JPEG of 0 x 0": jpeg_of_size(0, 0),
        "half a GIF": GIF[: len(GIF) // 2],
        "GIF of its header": GIF[:13],
        "GIF without a picture": GIF[: GIF.index(b",")] + b";",
        "half a BMP": BMP[: len(BMP) // 2],
        "BMP of its header": BMP[:54],
        "BMP whose pixels begin behind its end": edited(BMP, 10, struct.pack("<I", 10**6)),
    }.items()
}
# Read, and how is documented.
READ = {
    "1 x 1": _image(png(1, 1), _BLACK),
    "50,000 x 1": _image(png(50_000, 1), _BLACK),
    "1 x 50,000": _image(png(1, 50_000), _BLACK),
    "16 bits of each colour": _image(png(4, 4, depth=16, kind=2, rows=_DEEP), _level(128)),
    "16 bits, opaque": _image(
        png(4, 4, depth=16, kind=4, rows=zlib.compress(b"".join(b"\0" + b"\x80\0\xff\xff" * 4 for _ in range(4)))),
        _level(128),
    ),
    "CMYK JPEG": _image(saved(WHITE.convert("CMYK"), "JPEG"), _BRIGHT),
    "grey JPEG": _image(saved(WHITE.convert("L"), "JPEG"), _BRIGHT),
    "palette": _image(saved(WHITE.quantize(4), "PNG"), _BRIGHT),
    "1 bit": _image(saved(WHITE.convert("1"), "PNG"), _BRIGHT),
    "animated PNG": _image(saved(WHITE, "PNG", save_all=True, append_images=[Image.new("RGB", WHITE.size)]), _BRIGHT),
    "animated GIF": _image(saved(WHITE, "GIF", save_all=True, append_images=[Image.new("RGB", WHITE.size)]), _BRIGHT),
    "JPEG with more pictures": _image(saved(WHITE, "MPO", save_all=True, append_images=[COLOUR]), _BRIGHT),
    "PNG with something behind it": _image(PNG + b"garbage", _BRIGHT),
    "JPEG with something behind it": _image(JPEG + b"garbage", _BRIGHT),
    "PNG with 64 MB of text": _image(
        lambda: png(1, 1, more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))), _BLACK
    ),
    "PNG with a damaged profile of colours": _image(png(1, 1, more=chunk(b"iCCP", b"a\0\0garbage")), _BLACK),
    "PNG with a wrong checksum of its text": _image(
        png(1, 1, more=edited(chunk(b"tEXt", b"a\0b"), -4, b"abcd")), _BLACK
    ),
    "JPEG with flipped bits, which has no checksum": _image(
        edited(_NOISE, len(_NOISE) // 2, bytes([_NOISE[len(_NOISE) // 2] ^ 0x55])), _READ
    ),
    "GIF with a long comment": _image(GIF[: GIF.index(b",")] + 500 * _BLOCK + GIF[GIF.index(b",") :], _BRIGHT),
    "GIF of 1987": _image(saved(Image.new("L", (8, 8), 255), "GIF"), _BRIGHT),
}
BOMBS = {
    "PNG": lambda: png_bomb(20_000),
    "GIF": lambda: gif_bomb(60),
    "text": lambda: png(1, 1, more=16 * chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
    "JPEG": lambda: jpeg_of_size(65_500, 65_500),
}


def faults_of_bombs() -> dict[str, str | None]:
    """What is said of each."""
    return {name: image_fault(io.BytesIO(make())) for name, make in BOMBS.items()}
