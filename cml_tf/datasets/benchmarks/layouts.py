"""Where the pictures of the image benchmarks come from: the layouts in which they are published."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.benchmarks.store import Picture
from cml_tf.datasets.image_faults import UNREADABLE
from cml_tf.datasets.storage.archives import Member, members
from cml_tf.datasets.storage.pickles import load_pickle_content

_WORDNET = re.compile(r"n\d{8}")
_MINI_IMAGENET_PICKLE = re.compile(r"mini-imagenet-cache-(?:train|val|test)\.pkl$")
_AIRCRAFT = re.compile(r"(?:^|/)images/(\d{7})\.jpg$")
_AIRCRAFT_TABLE = re.compile(r"(?:^|/)(images_variant_(?:trainval|test)|images_box)\.txt$")
# What each reader looks at.
WORDNET_FILES = re.compile(r"(?:^|/)n\d{8}.*(?i:\.jpe?g|\.png)$")
MINI_IMAGENET_FILES = re.compile(f"{_MINI_IMAGENET_PICKLE.pattern}|{WORDNET_FILES.pattern}")
BIRD_FILES = re.compile(r"(?:^|/)(\d{3}\.[^/]+)/([^/]+\.jpg)$")
SIGN_FILES = re.compile(r"(?:^|/)(\d{5})/(\d{5}_\d{5}\.ppm)$")
AIRCRAFT_FILES = re.compile(f"{_AIRCRAFT.pattern}|{_AIRCRAFT_TABLE.pattern}")
_LARGEST_PICKLE = 1 << 30
_Box = tuple[float, float, float, float]


def wordnet_pictures(path: Path) -> Iterator[Picture]:
    """Pictures of ImageNet: a WordNet number begins the name of the file, or else of its folder (or inner tar)."""
    for member in members(path):
        if not WORDNET_FILES.search(member.place):
            continue
        parts = PurePosixPath(member.place).parts
        for part in reversed(parts):
            if found := _WORDNET.match(part):
                yield Picture(found[0], parts[-1], member.read)
                break


def mini_imagenet_pictures(path: Path) -> Iterator[Picture]:
    """miniImageNet: three pickles of 84 x 84 arrays (Ren et al.), or the pictures as files."""
    pickled = False
    for member in members(path, _LARGEST_PICKLE):
        if _MINI_IMAGENET_PICKLE.search(member.place):
            pickled = True
            yield from _pickled(member, f"{path}: {member.place}")
    if not pickled:
        yield from wordnet_pictures(path)


def bird_pictures(path: Path) -> Iterator[Picture]:
    """CUB-200-2011: 001.Black_footed_Albatross/NAME.jpg, in the archive below images."""
    for member in members(path):
        if found := BIRD_FILES.search(member.place):
            yield Picture(found[1], found[2], member.read)


def sign_pictures(path: Path) -> Iterator[Picture]:
    """GTSRB's training pictures: 00014/00003_00029.ppm is picture 29 of the third sign of class 14."""
    names = {name.split(".")[0]: name for name in class_splits("gtsrb").classes["test"]}
    for member in members(path):
        if found := SIGN_FILES.search(member.place):
            number = f"{int(found[1]):02d}"
            # TensorFlow decodes no PPM; PNG loses nothing.
            read = partial(_as_png, member.read, f"{path}: {member.place}")
            yield Picture(names.get(number, number), found[2], read)


def aircraft_pictures(path: Path) -> Iterator[Picture]:
    """FGVC-Aircraft: images/NUMBER.jpg, cut to the aircraft; tables say which variant and box each number has.

    The line of text under every picture lies outside of its box.
    """
    tables: dict[str, str] = {}
    for member in members(path):
        if found := _AIRCRAFT_TABLE.search(member.place):
            tables[found[1]] = member.read().decode("utf-8", "replace")
    wanted = ("images_variant_trainval", "images_variant_test", "images_box")
    if missing := [name for name in wanted if name not in tables]:
        raise DatasetError(
            f"{path} must contain {', '.join(wanted)} (.txt), missing: {', '.join(missing)}. Download it again."
        )
    lines = [line.split(" ", 1) for name in wanted[:2] for line in tables[name].splitlines() if line.strip()]
    variants = {line[0]: line[-1].strip() for line in lines}
    boxes = dict(_aircraft_box(line, path) for line in tables["images_box"].splitlines() if line.strip())
    for member in members(path):
        found = _AIRCRAFT.search(member.place)
        if found and found[1] in variants:
            if found[1] not in boxes:
                raise DatasetError(f"{path}: images_box.txt has no line for {found[1]}: download it again.")
            read = partial(_cut_pixels, member.read, boxes[found[1]], f"{path}: {member.place}")
            yield Picture(variants[found[1]], found[1], read)


def cut_fractions(read: Callable[[], bytes], box: _Box, name: str) -> bytes:
    """A picture cut to a box.

    Args:
      read: gives the bytes of the picture.
      box: upper, left, lower and right edge in [0, 1].
      name: of the picture, for errors.

    Returns:
      PNG; the whole picture if the box is empty.
    """
    image = _opened(read(), name)
    top, left, bottom, right = box
    width, height = image.size
    return _png(_cut(image, (round(left * width), round(top * height), round(right * width), round(bottom * height))))


def _cut_pixels(read: Callable[[], bytes], box: tuple[int, int, int, int], name: str) -> bytes:
    # The tables count pixels from 1, and their boxes include the last one.
    left, top, right, bottom = box
    return _png(_cut(_opened(read(), name), (left - 1, top - 1, right, bottom)))


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    width, height = image.size
    left, top, right, bottom = (min(max(edge, 0), most) for edge, most in zip(box, (width, height) * 2, strict=True))
    return image.crop((left, top, right, bottom)) if left < right and top < bottom else image


def _as_png(read: Callable[[], bytes], name: str) -> bytes:
    return _png(_opened(read(), name))


def _opened(content: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except UNREADABLE as error:
        raise DatasetError(f"{name} cannot be read as an image ({error}): download it again.") from error


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # It is decoded at once: compression would only cost time.
    image.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def _aircraft_box(line: str, path: Path) -> tuple[str, tuple[int, int, int, int]]:
    try:
        number, left, top, right, bottom = line.split()
        return number, (int(left), int(top), int(right), int(bottom))
    except ValueError as error:
        expected = "every line of images_box.txt must contain a number and four edges"
        raise DatasetError(f"{path}: {expected}, found {line!r}. Download it again.") from error


def _pickled(member: Member, name: str) -> Iterator[Picture]:
    content = load_pickle_content(member.read(), name)
    try:
        images, classes = content["image_data"], content["class_dict"]
        sound = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and images.size > 0
        # Before any pair is made: one list may stand for many classes, and a class be called by lists in lists.
        count = sum(map(len, classes.values()))
        if not sound or count != len(images) or not all(isinstance(label, str) for label in classes):
            raise ValueError(f"images {images.dtype} {list(images.shape)}, {count} rows listed")
        listed = [(label, int(row)) for label, rows in classes.items() for row in rows]
        rows = {row for _, row in listed}
        if rows != set(range(len(images))) or len(rows) != len(listed):
            raise ValueError(f"images {images.dtype} {list(images.shape)}, {len(listed)} rows listed")
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{name} must contain image_data, uint8 [images, height, width, 3], and class_dict, each image in one "
            f"class ({error}): download it again."
        ) from error
    for label, row in listed:
        yield Picture(label, f"{row:08d}", partial(_array_as_png, images, row))


def _array_as_png(images: np.ndarray, row: int) -> bytes:
    return _png(Image.fromarray(images[row]))
