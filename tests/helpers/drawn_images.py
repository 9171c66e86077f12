"""Small images and trees of them, for tests that read files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, size: tuple[int, int] = (10, 12), channels: int = 3) -> np.ndarray:
    """Random uint8 `[*size, channels]`."""
    return np.random.RandomState(seed).randint(0, 256, (*size, channels)).astype(np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, kind)
    return buffer.getvalue()


def write_classes(root: Path, classes: Iterable[str], images: int = 3, size: tuple[int, int] = (10, 12)) -> None:
    """Writes root/CLASS/0.png ... ; every image is different."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(images):
            seed = sum(map(ord, str(root.name) + name)) * 100 + number
            (root / name / f"{number}.png").write_bytes(encoded(pixels(seed, size)))


def drawings(alphabets: Mapping[str, int], count: int = 2) -> dict[str, bytes]:
    """Omniglot-like files by name: alphabet/characterNN/NN.png, grey 20 x 20."""
    return {
        f"{alphabet}/character{character + 1:02d}/{number:02d}.png": encoded(
            pixels(sum(map(ord, alphabet)) * 1000 + character * 10 + number, (20, 20), 1)
        )
        for alphabet, characters in alphabets.items()
        for character in range(characters)
        for number in range(count)
    }


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """A zip file whose members lie under one folder named like it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in files.items():
            archive.writestr(f"{path.stem}/{name}", contents)


def write_tree(root: Path, files: Mapping[str, bytes]) -> None:
    """The same files as a folder."""
    for name, contents in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(contents)
