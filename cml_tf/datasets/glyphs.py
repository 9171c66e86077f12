"""Glyphs: an Omniglot-like set that needs no download, rendered from the DejaVu faces that matplotlib ships.

A class is a letter that all twelve faces have, a sample is one face under a small affine change (rotation up to 10
degrees, shear, scaling and a shift of 1.5 pixels), two samples a face. Pictures are 28 x 28, black on white.

Splits are by script: Latin and Cyrillic for training, Greek for validation, Armenian and Georgian for testing. But a
letter is more than its code point: Latin A, Greek Alpha and Cyrillic A are one picture. So letters are taken in the
order train, validation, test (within a split by code point), and a letter that looks like one that was taken before is
left out. Classes are therefore all different to the eye, and no class that was trained on comes back in validation or
test under another name. What is compared is the squared difference of the plain pictures, with ink in [0, 1], summed
over the pixels and averaged over the faces. Within a split two letters look alike below 1, one single pixel turned from
white to black (accents remain different letters). Across splits they look alike below 8 already, which also drops
Armenian ho (an h) and seh (a U), since there the harm is a result that is too good.

A letter is drawn large in each face, then bent a little and reduced to 28 x 28.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFont

from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.storage.cache import cached_arrays
from cml_tf.system.settings import import_regardless_of_backend

# Before matplotlib, whose outlines the letters are.
import_regardless_of_backend()
import matplotlib  # noqa: E402
from matplotlib.ft2font import FT2Font  # noqa: E402

SCRIPTS = {"train": ("LATIN", "CYRILLIC"), "validation": ("GREEK",), "test": ("ARMENIAN", "GEORGIAN")}
VARIATIONS = 2
LOOK_ALIKE_WITHIN = 1.0
LOOK_ALIKE_ACROSS = 8.0

# Raise when the pictures change, so that no cached file of an older recipe is read.
_RECIPE = 1


def load_glyphs() -> ImageDataset:
    """The glyphs, from the cache or rendered in a few seconds; 24 samples a class, uint8 28 x 28 x 1."""
    # The outlines belong to matplotlib's version, the rasteriser and the reduction to Pillow's.
    key = {"matplotlib": matplotlib.__version__, "pillow": PIL.__version__, "recipe": _RECIPE}
    arrays = cached_arrays("glyphs", key, _build)
    pools = {}
    for split in SCRIPTS:
        letters = tuple(str(letter) for letter in arrays[f"{split}_letters"])
        counts = np.full(len(letters), len(FACES) * VARIATIONS, np.int64)
        pools[split] = ClassPool(letters, counts, arrays[f"{split}_images"])
    return ImageDataset.from_pools("glyphs", pools)


def letters_of(scripts: Sequence[str]) -> list[str]:
    """The letters of some scripts that every face has, by code point: upper, lower and caseless, no modifiers."""
    shared = set.intersection(*(set(FT2Font(str(face_path(face))).get_charmap()) for face in FACES))
    letters = (chr(code) for code in sorted(shared))
    return [
        letter
        for letter in letters
        if unicodedata.category(letter) in ("Lu", "Ll", "Lo") and unicodedata.name(letter).split()[0] in scripts
    ]


def _build() -> dict[str, np.ndarray]:
    faces = load_faces()
    candidates = [(split, letter) for split, scripts in SCRIPTS.items() for letter in letters_of(scripts)]
    drawings = {letter: draw(letter, faces) for _, letter in candidates}
    plain = np.stack([plain_pictures(drawings[letter]) for _, letter in candidates])
    new = _first_of_their_look(plain, np.array([split for split, _ in candidates]))
    arrays = {}
    for split in SCRIPTS:
        letters = [letter for (owner, letter), kept in zip(candidates, new, strict=True) if kept and owner == split]
        images = np.concatenate([samples(drawings[letter], VARIATIONS, seed=ord(letter)) for letter in letters])
        arrays[f"{split}_letters"] = np.array(letters)
        arrays[f"{split}_images"] = images[..., np.newaxis]
    return arrays


def _first_of_their_look(plain: np.ndarray, owners: np.ndarray) -> list[bool]:
    """For each of `plain`, uint8 `[letters, faces, 28, 28]`: does it differ from all before it that were new?

    `owners` names the split of each letter.
    """
    # Whole numbers below 2**53 are exact in float64, so no machine's order of summation can change the choice.
    flat = plain.reshape(len(plain), -1).astype(np.float64)
    squares = np.einsum("ij,ij->i", flat, flat)
    distances = squares[:, np.newaxis] + squares - 2.0 * flat @ flat.T
    same_split = owners[:, np.newaxis] == owners
    limits = np.where(same_split, LOOK_ALIKE_WITHIN, LOOK_ALIKE_ACROSS) * 255.0**2 * plain.shape[1]
    alike = distances < limits
    new: list[bool] = []
    for position in range(len(plain)):
        new.append(not alike[position, :position][new].any())
    return new


FACES = tuple(
    f"DejaVu{face}.ttf"
    for face in (
        *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique"),
        *("SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique"),
        *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
    )
)
SIZE = 28

# Letters are drawn at three times the final size, so that reducing them smooths their edges.
_OVERSAMPLING = 3
_EM = 22 * _OVERSAMPLING
_CANVAS = SIZE * _OVERSAMPLING
_LARGEST_EXTENT = 24 * _OVERSAMPLING

_ROTATION = math.radians(10.0)
_SHEAR = 0.1
_SCALING = 0.12
_SHIFT = 1.5 * _OVERSAMPLING


def face_path(face: str) -> Path:
    """Where matplotlib keeps the file of a face."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face


def load_faces() -> list[ImageFont.FreeTypeFont]:
    """The twelve faces at drawing size."""
    # The basic layout engine is part of every Pillow; the other one is there only where a system library is.
    return [ImageFont.truetype(face_path(face), _EM, layout_engine=ImageFont.Layout.BASIC) for face in FACES]


def draw(letter: str, faces: Sequence[ImageFont.FreeTypeFont]) -> list[Image.Image]:
    """The letter in each face at drawing size, cut to its ink; ink is 255."""
    drawings = []
    for face in faces:
        sheet = Image.new("L", (3 * _EM, 3 * _EM))
        ImageDraw.Draw(sheet).text((_EM, 2 * _EM), letter, fill=255, font=face, anchor="ls")
        # Neither side bearings nor the height above the base line say anything about a class.
        drawings.append(sheet.crop(sheet.getbbox()))
    return drawings


def plain_pictures(drawings: Sequence[Image.Image]) -> np.ndarray:
    """Each drawing centred and upright: uint8 `[drawings, 28, 28]`, ink is 255."""
    return np.stack([_place(drawing, np.eye(2), np.zeros(2)) for drawing in drawings])


def samples(drawings: Sequence[Image.Image], variations: int, seed: int) -> np.ndarray:
    """Each drawing under `variations` small affine changes: uint8 `[drawings * variations, 28, 28]`, ink 0 on 255.

    The changes are a fixed function of the seed. (They come from `RandomState`, whose streams NumPy has frozen.)
    """
    uniform = np.random.RandomState(seed).uniform(-1.0, 1.0, (len(drawings), variations, 6))
    pictures = [
        _place(drawing, _matrix(numbers[:4]), _SHIFT * numbers[4:])
        for drawing, changes in zip(drawings, uniform, strict=True)
        for numbers in changes
    ]
    return 255 - np.stack(pictures)


def _matrix(numbers: np.ndarray) -> np.ndarray:
    """Rotation x shear x scaling from four numbers in [-1, 1]; maps places in the result to places in the drawing."""
    angle = _ROTATION * numbers[0]
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1.0, _SHEAR * numbers[1]], [0.0, 1.0]])
    return rotation @ shear @ np.diag(np.exp(_SCALING * numbers[2:]))


def _place(ink: Image.Image, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The ink, changed and centred on a 28 x 28 canvas; shrunk where it would not fit (a fit keeps C larger than c)."""
    matrix = matrix * max(1.0, max(ink.size) / _LARGEST_EXTENT)
    centre = np.full(2, _CANVAS / 2) + shift
    offset = np.array(ink.size) / 2 - matrix @ centre
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    canvas = ink.transform((_CANVAS, _CANVAS), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(canvas.reduce(_OVERSAMPLING))
