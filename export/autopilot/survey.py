"""What a folder of pictures allows: which classes are for what, how large episodes can be, how pictures are read.

A folder without splits gets one, by a seed: links to its classes, in a place of the autopilot's own. Nothing is written
into the folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cml_tf.datasets.base import SPLITS
from cml_tf.datasets.image_faults import UNREADABLE
from cml_tf.datasets.image_folder import SPLIT_FILE, folders_by_split
from cml_tf.datasets.image_paths import class_folders, image_files
from cml_tf.errors import DatasetError, UserError

FEWEST_CLASSES, FEWEST_PICTURES = 6, 2
_MOST_WAYS, _MOST_SHOTS, _MOST_QUERIES = 5, 5, 15
# Edges that pictures are scaled to, and the minutes that each takes at least: the time of a step grows with the square.
_EDGES = ((28, 0.0), (32, 0.0), (48, 10.0), (64, 30.0), (84, 120.0))
_LOOKED_AT = 100
_GREY_MODES = ("1", "L", "LA", "I", "I;16")


@dataclass(frozen=True)
class Wishes:
    """What somebody wants otherwise than it would be chosen; 0 leaves the choice."""

    ways: int = 0
    shots: int = 0
    image_size: int = 0


@dataclass(frozen=True)
class Survey:
    """What was found and chosen.

    Attributes:
      root: of the dataset, with a folder or a file of splits; not there before `link`, if the split is made here.
      folders: of the classes of each split, by name.
      pictures: of all classes.
      fewest: pictures of the smallest class.
      edge: height and width that pictures are scaled to.
      channels: 1 for grey pictures, 3 for colour.
      ways: classes an episode.
      shots: support pictures a class.
      queries: query pictures a class, in validation and tests.
      chosen: why these numbers, a sentence each.
    """

    root: Path
    folders: Mapping[str, Mapping[str, Path]]
    pictures: int
    fewest: int
    edge: int
    channels: int
    ways: int
    shots: int
    queries: int
    chosen: tuple[str, ...]

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The names of the classes of each split, sorted."""
        return {split: tuple(sorted(self.folders[split])) for split in SPLITS}

    def link(self) -> None:
        """Makes the split, where the folder has none: links to its classes below `root`."""
        for split, classes in self.folders.items():
            for path in classes.values():
                link = self.root / split / path.name
                if not path.is_relative_to(self.root) and not link.is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(path.resolve())


def survey(data: Path, links: Path, seed: int, minutes: float, wishes: Wishes | None = None) -> Survey:
    """Looks at a folder of pictures.

    Args:
      data: a folder with one folder of pictures a class, or already with train, validation and test, or with a file of
        splits (docs/OWN_DATA.md).
      links: where a split of classes is kept, if it is made here.
      seed: of that split.
      minutes: that there are: small pictures are for short times.
      wishes: what not to choose here.

    Raises:
      DatasetError: for a folder that is missing, holds too few classes or pictures, or what is no picture.
      UserError: for a wish that the pictures do not allow.
    """
    wishes = wishes or Wishes()
    if not data.is_dir():
        raise DatasetError(f"--data must be a folder with a folder of pictures for each class, received {data}.")
    there, why = _splits(data, seed)
    files = {name: image_files(path) for classes in there.values() for name, path in classes.items()}
    ways = _ways(there, wishes.ways)
    smallest = min(files, key=lambda name: len(files[name]))
    fewest = len(files[smallest])
    if fewest < FEWEST_PICTURES:
        raise DatasetError(
            f"every class must have at least {FEWEST_PICTURES} pictures, received {fewest} of {smallest!r}: add "
            "pictures, or remove the class."
        )
    shots = _wished("shots", wishes.shots, 1, fewest - 1) or min(_MOST_SHOTS, fewest // 2)
    edge, channels, seen = _look(files, minutes, wishes.image_size)
    pictures = sum(len(paths) for paths in files.values())
    queries = min(_MOST_QUERIES, fewest - shots)
    sizes = f"{ways} classes a task, since the smallest split has {min(map(len, there.values()))} classes"
    counts = f"{shots} examples of each and {queries} questions, since the smallest class has {fewest} pictures"
    root, chosen = data if _is_split(data) else links, (why, sizes, counts, *seen)
    return Survey(root, there, pictures, fewest, edge, channels, ways, shots, queries, chosen)


def split_classes(names: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Deals classes to the splits: about a fifth each to validation and test, at least as many as a task needs.

    Args:
      names: six or more, in any order.
      seed: the same one and the same names give the same split.
    """
    ways = max(2, min(_MOST_WAYS, len(names) // 4))
    held = max(ways, round(len(names) / 5))
    dealt = [sorted(names)[place] for place in np.random.default_rng(seed).permutation(len(names))]
    parts = {"validation": dealt[:held], "test": dealt[held : 2 * held], "train": dealt[2 * held :]}
    return {split: sorted(parts[split]) for split in SPLITS}


def _is_split(data: Path) -> bool:
    return (data / SPLIT_FILE).exists() or all((data / split).is_dir() for split in SPLITS)


def _splits(data: Path, seed: int) -> tuple[dict[str, dict[str, Path]], str]:
    if _is_split(data):
        return folders_by_split(data), "the splits of classes are those of the folder"
    folders = class_folders(data)
    if len(folders) < FEWEST_CLASSES:
        raise DatasetError(
            f"{data} must contain at least {FEWEST_CLASSES} folders of classes (two each to train on, to choose by and "
            f"to test on), found {len(folders)}: add classes."
        )
    parts = split_classes(list(folders), seed)
    return (
        {split: {name: folders[name] for name in names} for split, names in parts.items()},
        f"classes were dealt to training, validation and test by the seed {seed}",
    )


def _ways(there: Mapping[str, Mapping[str, Path]], wished: int) -> int:
    smallest = min(len(classes) for classes in there.values())
    if smallest < 2:
        raise DatasetError(
            f"every split must have at least 2 classes, received {smallest} in one of them: add classes."
        )
    return _wished("ways", wished, 2, smallest) or min(_MOST_WAYS, smallest)


def _wished(name: str, wished: int, least: int, most: int) -> int:
    if wished and not least <= wished <= most:
        raise UserError(f"--{name} must be {least} to {most} with these pictures, received {wished}: leave it out.")
    return wished


def _look(files: Mapping[str, Sequence[str]], minutes: float, wished: int) -> tuple[int, int, tuple[str, str]]:
    """The edge and the channels, and why."""
    paths = [path for of_class in files.values() for path in of_class]
    chosen = [paths[place] for place in np.unique(np.linspace(0, len(paths) - 1, _LOOKED_AT).astype(int))]
    sizes, coloured = zip(*(_seen(path) for path in chosen), strict=True)
    middle = int(np.median([min(size) for size in sizes]))
    channels = 3 if any(coloured) else 1
    colour = "in colour" if channels == 3 else "in grey, since none has colours"
    if wished:
        if not 16 <= wished <= 512:
            raise UserError(f"--image_size must be 16 to 512, received {wished}: leave it out.")
        return wished, channels, (f"pictures are read at {wished}x{wished}, as wished", colour)
    edge = max(edge for edge, least in _EDGES if least <= minutes and (edge <= middle or edge == _EDGES[0][0]))
    reason = f"pictures are read at {edge}x{edge}: their short edge is {middle} in the middle, and there are"
    return edge, channels, (f"{reason} {minutes:g} minutes", colour)


def _seen(path: str) -> tuple[tuple[int, int], bool]:
    """The size of a picture, and whether it has to be read in colour."""
    try:
        with Image.open(path) as image:
            size, kind = image.size, image.format
            if kind in ("GIF", "BMP"):
                # They are decoded in colour only.
                return size, True
            if image.mode in _GREY_MODES:
                return size, False
            pixels = np.asarray(image.convert("RGB").resize((32, 32)), int)
    except UNREADABLE as error:
        raise DatasetError(f"{os.fsdecode(path)} cannot be read as a picture ({error}): remove it.") from error
    return size, bool(np.ptp(pixels, axis=-1).max() > 2)
