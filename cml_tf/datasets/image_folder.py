"""Your own images: a folder for every class.

Either three roots,

    root/train/CLASS/*.png    root/validation/CLASS/*.png    root/test/CLASS/*.png

or one root and a file that says which class belongs where:

    root/CLASS/*.png    root/splits.json    {"train": ["CLASS", ...], "validation": [...], "test": [...]}

Files end in .png, .jpg, .jpeg, .jpe, .jfif, .bmp or .gif (first frame), in capitals or not; those in subfolders of a
class belong to it. Links are followed. Hidden files and folders are passed over, other files too, with a warning that
names them. docs/OWN_DATA.md says how pictures are seen: turned as their EXIF orientation asks, without transparency.
Images of different sizes are all resized to `image_size`, without regard to their aspect ratio, and PNG and JPEG are
converted to `channels` (GIF and BMP must have 3). With a split file, folders that it does not name are passed over,
with a warning. Images that two splits share are told in a warning too. All images are decoded at once and kept in
memory as bytes: height x width x channels each.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_name, file_text
from cml_tf.datasets.base import SPLITS, DatasetError, check_image_size
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.image_files import CHANNELS, decode_files
from cml_tf.datasets.image_paths import check_regular, class_folders, image_files
from cml_tf.system.files import parsed_json

SPLIT_FILE = "splits.json"
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
        raise DatasetError("the dataset image_folder needs the folder of your images: set dataset.root.")
    base = Path(root).expanduser()
    if not base.is_dir():
        raise DatasetError(f"the root of image_folder must be a folder, received {base}: check dataset.root.")
    folders = folders_by_split(base)
    # All folders are looked through before the first image is decoded: decoding may take minutes.
    files = {split: {name: image_files(path) for name, path in classes.items()} for split, classes in folders.items()}
    pools = {split: _pool(files[split], size, channels) for split in SPLITS}
    _tell_shared_images(files, pools)
    return ImageDataset.from_pools("image_folder", pools)


def folders_by_split(base: Path) -> dict[str, dict[str, Path]]:
    """The folders of the classes in each split.

    Args:
      base: the folder described above.

    Raises:
      DatasetError: if a split is missing, or a class is in two.
    """
    folders = _by_split_file(base) if (base / SPLIT_FILE).exists() else _by_split_folder(base)
    _check_disjoint(folders)
    return folders


def _by_split_folder(base: Path) -> dict[str, dict[str, Path]]:
    missing = [split for split in SPLITS if not (base / split).is_dir()]
    if missing:
        raise DatasetError(
            f"{base} must contain the folders train, validation and test, or a {SPLIT_FILE}; missing: "
            f"{', '.join(missing)}."
        )
    return {split: class_folders(base / split) for split in SPLITS}


def _by_split_file(base: Path) -> dict[str, dict[str, Path]]:
    splits = _read_splits(base / SPLIT_FILE)
    present = class_folders(base)
    named = {name for names in splits.values() for name in names}
    absent = sorted(named - set(present))
    if absent:
        raise DatasetError(f"{base / SPLIT_FILE} lists classes without a folder in {base}: {', '.join(absent[:5])}.")
    unused = sorted(set(present) - named)
    if unused:
        _LOG.warning("%s does not list %d folders; ignoring them: %s", SPLIT_FILE, len(unused), unused[:5])
    return {split: {name: present[name] for name in sorted(splits[split])} for split in SPLITS}


def _read_splits(path: Path) -> dict[str, list[str]]:
    expected = '{"train": ["class", ...], "validation": [...], "test": [...]}'
    check_regular(path)
    try:
        splits = parsed_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} must contain {expected}, but cannot be read: {error}") from error
    if not isinstance(splits, dict) or sorted(splits) != sorted(SPLITS):
        found = ", ".join(splits) if isinstance(splits, dict) else type(splits).__name__
        raise DatasetError(f"{path} must contain {expected}, found {found or 'nothing'}.")
    for split, names in splits.items():
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{path} must contain {expected}; {split!r} is not a list of at least one class name.")
        names = splits[split] = [_split_name(path, name) for name in names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DatasetError(f"{path} lists {', '.join(twice[:5])} twice in {split!r}: remove the duplicate.")
    return splits


def _split_name(path: Path, given: str) -> str:
    try:
        return class_name(given)
    except ClassNameError as error:
        raise DatasetError(f"{path}: {error}") from error


def _check_disjoint(folders: Mapping[str, Mapping[str, Path]]) -> None:
    owner: dict[str, str] = {}
    for split in SPLITS:
        for name in folders[split]:
            if name in owner:
                raise DatasetError(
                    f"splits must be disjoint by class, but {name!r} is in {owner[name]} and in {split}: remove "
                    "it from one of them."
                )
            owner[name] = split


def _pool(files: Mapping[str, Sequence[str]], image_size: tuple[int, int], channels: int) -> ClassPool:
    paths = [path for images in files.values() for path in images]
    counts = np.array([len(images) for images in files.values()], np.int64)
    return ClassPool(tuple(files), counts, decode_files(paths, image_size=image_size, channels=channels))


def _tell_shared_images(files: Mapping[str, Mapping[str, Sequence[str]]], pools: Mapping[str, ClassPool]) -> None:
    """Warns of pictures that two splits share: what was trained on must not be what is tested on."""
    seen: dict[bytes, tuple[str, str]] = {}
    shared = []
    for split, classes in files.items():
        paths = [path for images in classes.values() for path in images]
        for path, image in zip(paths, pools[split].images, strict=True):
            other, first = seen.setdefault(hashlib.sha256(image).digest(), (split, path))
            if other != split:
                shared.append(f"{file_text(path)} = {file_text(first)}")
    if shared:
        _LOG.warning(
            "%d images of one split are in another too, so scores would be too good: remove them from one. %s",
            len(shared),
            ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else ""),
        )
