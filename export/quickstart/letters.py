"""Letters of a script that the model never saw, as a user would have them: image files in one folder a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cml_tf import datasets
from cml_tf.system.files import atomic_file

SUPPORT, QUERIES = "support", "queries"


def write_letters(directory: Path, ways: int, shots: int, queries: int) -> tuple[str, ...]:
    """Writes the first test episode of the glyphs as PNG files.

    Args:
      directory: gets `support/LETTER/N.png` and `queries/LETTER/N.png`; made if it is not there.
      ways: letters.
      shots: support examples a letter.
      queries: query examples a letter.

    Returns:
      The letters.
    """
    dataset = datasets.load("glyphs")
    source = dataset.episodes("test", ways=ways, shots=shots, queries=queries, seed=0)
    episode = source.batch(0, 1)
    names = dataset.class_names("test")
    letters = tuple(names[number] for number in source.indices(0, 1)[0, :, 0])
    for part, examples in ((SUPPORT, episode.support), (QUERIES, episode.query)):
        _write(directory / part, examples.inputs[0].numpy(), examples.targets[0].numpy(), letters)
    return letters


def _write(directory: Path, images: np.ndarray, labels: np.ndarray, letters: tuple[str, ...]) -> None:
    """Images `[examples, height, width, 1]` in [0, 1], each under the name of its class."""
    written = dict.fromkeys(letters, 0)
    for image, label in zip(images, labels, strict=True):
        letter = letters[label]
        written[letter] += 1
        folder = directory / letter
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / f"{written[letter]}.png") as file:
            Image.fromarray(np.round(image[..., 0] * 255).astype(np.uint8)).save(file, format="PNG")
