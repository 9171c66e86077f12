"""Letters as small pictures: drawn large in each face, then bent a little and reduced to 28 x 28."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

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
