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
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import matplotlib
import numpy as np
import PIL
from matplotlib.ft2font import FT2Font

from cml_tf.datasets.cache import cached_arrays
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.glyph_rendering import FACES, draw, face_path, load_faces, plain_pictures, samples

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
