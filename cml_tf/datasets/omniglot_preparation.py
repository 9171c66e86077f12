"""Omniglot as it was published: its files and the numbers of its drawings, which preparing compares.

Training does not compare them: there may be reasons to leave some alphabets out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cml_tf.datasets.archives import digests
from cml_tf.datasets.class_pool import ClassPool
from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.omniglot import PAIRS, Characters, drawn_sets, load_omniglot
from cml_tf.datasets.published_sets import PublishedSet

OMNIGLOT = "omniglot"
SPLIT = (
    "Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through probabilistic program induction, Science "
    "2015: the background set trains, the evaluation set tests, without the alphabets that the first has; whole "
    "alphabets of the first validate"
)
_ADDRESS = "https://github.com/brendenlake/omniglot/raw/master/python"
FILES = PublishedSet(
    builder="omniglot:3.0.0",
    parts=("train", "test"),
    files={f"{name}.zip": f"{_ADDRESS}/{name}.zip" for name in PAIRS[0]},
)
# Of the small sets only that every character was drawn by as many people.
CHARACTERS = {"images_background": 964, "images_evaluation": 659}
DRAWINGS = 20


def prepared_omniglot(root: str = "") -> dict[str, ClassPool]:
    """The drawings by split, which the cache has from now on, if they are all that was published.

    Args:
      root: see `load_omniglot`.

    Raises:
      DatasetError: if files are missing, damaged or not those that were published, or cannot be downloaded.
    """
    if root:
        _check_files(Path(root).expanduser())
    for name, characters in drawn_sets(root).items():
        _check_numbers(name, characters)
    return dict(load_omniglot(root).pools)


def _check_files(root: Path) -> None:
    # Where a folder is beside the zip file, it is the one that is read.
    zipped = [name for name in PAIRS[0] if (root / f"{name}.zip").is_file() and not (root / name).is_dir()]
    for file in FILES.pinned() if zipped else ():
        path = root / file.name
        if path.stem in zipped and (found := digests(path)["sha256"]) != file.sha256:
            raise DatasetError(
                f"{path} must have the published SHA-256 {file.sha256}, received {found}; download it again from "
                f"{file.url}."
            )


def _check_numbers(name: str, characters: Characters) -> None:
    if not any(name in pair for pair in PAIRS):
        return  # Somebody's own folder of alphabets.
    expected = CHARACTERS.get(name, len(characters.names))
    if len(characters.names) != expected:
        raise DatasetError(
            f"{name} must have {expected} characters with {expected * DRAWINGS} drawings, found "
            f"{len(characters.names)} with {int(characters.counts.sum())}; the files are not complete."
        )
    if (short := np.flatnonzero(characters.counts != DRAWINGS)).size:
        raise DatasetError(
            f"{name} must have {DRAWINGS} drawings of every character, found {characters.counts[short[0]]} of "
            f"{characters.names[short[0]]}; the files are not complete."
        )
