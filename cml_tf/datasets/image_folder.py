"""Your own images: a folder for every class.

Either three roots,

    root/train/CLASS/*.png    root/validation/CLASS/*.png    root/test/CLASS/*.png

or one root and a file that says which class belongs where:

    root/CLASS/*.png    root/splits.json    {"train": ["CLASS", ...], "validation": [...], "test": [...]}

Files end in .png, .jpg, .jpeg, .jpe, .jfif, .bmp or .gif (first frame), in capitals or not; those in subfolders of a
class belong to it. Links are followed. Hidden files and folders are passed over, other files too, with a warning that
names them. docs/DATASETS.md says how pictures are seen: turned as their EXIF orientation asks, without transparency.
Images of different sizes are all resized to `image_size`, without regard to their aspect ratio, and PNG and JPEG are
converted to `channels` (GIF and BMP must have 3). With a split file, folders that it does not name are passed over,
with a warning. All images are decoded at once and kept in memory as bytes: height x width x channels each.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_name, folder_classes
from cml_tf.datasets.base import SPLITS, DatasetError, check_image_size
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.image_files import CHANNELS, decode_files
from cml_tf.system.files import parsed_json

SPLIT_FILE = "splits.json"
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif")
# What systems leave in folders, beside names that begin with a dot.
_SYSTEM_NAMES = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}
_KINDS = "PNG, JPEG, BMP or GIF"
_LOG = logging.getLogger(__name__)


def load_image_folder(root: str = "", image_size: Sequence[int] = (84, 84), channels: int = 3) -> ImageDataset:
    """A dataset from class-per-folder images.

    Args:
      root: the folder described above.
      image_size: height and width that all images are resized to.
      channels: 3 for colour, 1 for grey.

    Raises:
      DatasetError: naming the folder or file that is missing, empty, unreadable or in two splits.
    """
    size = check_image_size(image_size)
    if channels not in CHANNELS:
        raise DatasetError(f"channels must be 1 (grey) or 3 (colour), received {channels!r}.")
    if not root:
        raise DatasetError("image_folder needs a root: the folder with your images; set dataset.root.")
    base = Path(root).expanduser()
    if not base.is_dir():
        raise DatasetError(f"the image_folder root must be a folder, {base} is none; check dataset.root.")
    folders = _by_split_file(base) if (base / SPLIT_FILE).exists() else _by_split_folder(base)
    _check_disjoint(folders)
    # All folders are looked through before the first image is decoded: decoding may take minutes.
    files = {split: {name: image_files(path) for name, path in classes.items()} for split, classes in folders.items()}
    return ImageDataset.from_pools("image_folder", {split: _pool(files[split], size, channels) for split in SPLITS})


def _by_split_folder(base: Path) -> dict[str, dict[str, Path]]:
    missing = [split for split in SPLITS if not (base / split).is_dir()]
    if missing:
        raise DatasetError(
            f"{base} must hold the folders train, validation and test, or a {SPLIT_FILE}; missing: "
            f"{', '.join(missing)}."
        )
    return {split: class_folders(base / split) for split in SPLITS}


def _by_split_file(base: Path) -> dict[str, dict[str, Path]]:
    splits = _read_splits(base / SPLIT_FILE)
    present = class_folders(base)
    named = {name for names in splits.values() for name in names}
    absent = sorted(named - set(present))
    if absent:
        raise DatasetError(f"{base / SPLIT_FILE} names classes that have no folder in {base}: {', '.join(absent[:5])}.")
    unused = sorted(set(present) - named)
    if unused:
        _LOG.warning("%s does not name %d folders, which are left out: %s", SPLIT_FILE, len(unused), unused[:5])
    return {split: {name: present[name] for name in sorted(splits[split])} for split in SPLITS}


def _read_splits(path: Path) -> dict[str, list[str]]:
    expected = '{"train": ["class", ...], "validation": [...], "test": [...]}'
    try:
        splits = parsed_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} must hold {expected}, and cannot be read: {error}") from error
    if not isinstance(splits, dict) or sorted(splits) != sorted(SPLITS):
        found = ", ".join(splits) if isinstance(splits, dict) else type(splits).__name__
        raise DatasetError(f"{path} must hold {expected}, found {found or 'nothing'}.")
    for split, names in splits.items():
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{path} must hold {expected}; {split!r} is not a list of at least one class name.")
        names = splits[split] = [_split_name(path, name) for name in names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DatasetError(f"{path} names {', '.join(twice[:5])} twice in {split!r}; remove one.")
    return splits


def _split_name(path: Path, given: str) -> str:
    try:
        return class_name(given)
    except ClassNameError as error:
        raise DatasetError(f"{path}: {error}") from error


def class_folders(path: Path) -> dict[str, Path]:
    """The folders in a folder by the names of their classes, sorted, hidden ones passed over.

    Images beside them are told in a warning.

    Raises:
      DatasetError: if there are none, two are one class (see `cml_tf.boundary.labels`), or a link leads nowhere.
    """
    visible = _visible(path)
    folders = [entry.name for entry in visible if entry.is_dir()]
    if not folders:
        raise DatasetError(f"{path} must hold a folder for every class, found none.")
    if loose := [entry.name for entry in visible if entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()]:
        _LOG.warning("%s: images beside the folders of classes are left out: %s.", path, _first(loose))
    try:
        return {name: path / folder for name, folder in sorted(folder_classes(folders).items())}
    except ClassNameError as error:
        raise DatasetError(f"{path}: {error}") from error


def _check_disjoint(folders: Mapping[str, Mapping[str, Path]]) -> None:
    owner: dict[str, str] = {}
    for split in SPLITS:
        for name in folders[split]:
            if name in owner:
                raise DatasetError(
                    f"splits must be disjoint by class, but {name!r} is in {owner[name]} and in {split}; remove it "
                    "from one."
                )
            owner[name] = split


def image_files(folder: Path) -> list[str]:
    """The images in a folder and its subfolders, sorted by path, hidden files passed over, others told in a warning.

    Raises:
      DatasetError: if there are none, or a link leads nowhere or in a circle.
    """
    files = files_below(Path(folder))
    images = sorted(path for path in files if path.lower().endswith(SUFFIXES))
    if not images:
        raise DatasetError(f"{folder} must hold images ({', '.join(SUFFIXES)}), found none; fill or remove the folder.")
    if others := sorted(set(files) - set(images)):
        names = [os.path.relpath(path, folder) for path in others]
        _LOG.warning("%s: %d files are no %s and are left out: %s.", folder, len(others), _KINDS, _first(names))
    return images


def files_below(folder: Path, above: tuple[str, ...] = ()) -> list[str]:
    """The files in a folder and its subfolders, hidden ones passed over.

    Args:
      folder: that is walked.
      above: the folders that it was reached through, for links that lead in a circle.

    Raises:
      DatasetError: if a link leads nowhere or in a circle.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise DatasetError(f"{folder} is a link to a folder that it lies in: remove the link.")
    files: list[str] = []
    for entry in _visible(folder):
        files += files_below(entry, (*above, real)) if entry.is_dir() else [str(entry)]
    return files


def _visible(folder: Path) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    if lost := [entry for entry in entries if entry.is_symlink() and not entry.exists()]:
        raise DatasetError(f"{lost[0]} is a link to what is not there: remove it, or bring its target back.")
    return entries


def is_hidden(name: str) -> bool:
    """Whether people do not see a file or folder of that name: a dot in front, or left there by a system."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _pool(files: Mapping[str, Sequence[str]], image_size: tuple[int, int], channels: int) -> ClassPool:
    paths = [path for images in files.values() for path in images]
    counts = np.array([len(images) for images in files.values()], np.int64)
    return ClassPool(tuple(files), counts, decode_files(paths, image_size=image_size, channels=channels))
