"""A miniature of Omniglot's original files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.helpers.drawn_images import drawings, write_zip

# As in the real small sets, one alphabet ("Greek") is in both files and one is among those held out for validation.
BACKGROUND = {"Early_Aramaic": 2, "Greek": 3, "Korean": 2}
EVALUATION = {"Greek": 2, "Sanskrit": 2, "Tagalog": 3}


def write_pair(
    root: Path,
    pair: tuple[str, str] = ("images_background", "images_evaluation"),
    write: Callable = write_zip,
    suffix: str = ".zip",
) -> None:
    """Writes the two files (or, with another `write`, folders) of the training and the test part."""
    for name, alphabets in zip(pair, (BACKGROUND, EVALUATION), strict=True):
        write(root / f"{name}{suffix}", drawings(alphabets))
