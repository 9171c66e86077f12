"""Images decoded once, as arrays on disk that are mapped into memory: a pool costs memory only where it is looked at.

A stored set is a folder of the cache, complete or absent:

    NAME-KEY/index.json    for each split: names of classes, images a class, SHA-256; what it was made from
    NAME-KEY/SPLIT.npy     uint8 [images, height, width, channels], class after class
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cml_tf.datasets.base import DatasetError, digest
from cml_tf.datasets.class_pool import ClassPool, pool_fingerprint
from cml_tf.datasets.image_files import decode_contents
from cml_tf.datasets.storage.cache import cache_directory
from cml_tf.system.files import locked, parsed_json, write_json

_INDEX = "index.json"
# Raised when files are decoded otherwise: 2 since they are turned as their EXIF orientation asks.
_RECIPE = 2
_CHUNK = 512
_CHANNELS = 3
_LOG = logging.getLogger(__name__)


class Picture(NamedTuple):
    """One image file: its class, a name that no other of the class has, and what gives its bytes."""

    class_name: str
    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class StoredImages:
    """What a set consists of and where it is kept.

    Attributes:
      name: of the benchmark; the folder's name begins with it.
      key: all that the images depend on but their size, as JSON values.
      image_size: height and width of every image.
      classes: the names of the classes of each split, in order.
      expected: how many images each split must have; under "" all together. Splits that are not in it may have any
        number.
    """

    name: str
    key: Mapping[str, Any]
    image_size: tuple[int, int]
    classes: Mapping[str, Sequence[str]]
    expected: Mapping[str, int]

    @property
    def folder(self) -> Path:
        """Where the arrays are, or will be."""
        classes = {split: list(names) for split, names in self.classes.items()}
        key = {**self.key, "image_size": list(self.image_size), "classes": classes, "recipe": _RECIPE}
        return cache_directory() / f"{self.name}-{digest(key)[:20]}"

    def read(self) -> dict[str, ClassPool] | None:
        """The pools by split, mapped into memory; None if they are not there or not whole, which is logged.

        Raises:
          DatasetError: if this user may not read them.
        """
        try:
            if not self.folder.is_dir():
                return None
            index = parsed_json((self.folder / _INDEX).read_text(encoding="utf-8"))
            return {split: self._pool(split, index["splits"][split]) for split in self.classes}
        except PermissionError as error:
            raise DatasetError(
                f"{error.filename} cannot be read ({error.strerror}): ask its owner for permission, or set "
                "CML_TF_CACHE to a folder of your own."
            ) from error
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("Rebuilding the stored images in %s, which cannot be read (%s).", self.folder, error)
            return None

    def build(self, pictures: Callable[[], Iterator[Picture]]) -> dict[str, ClassPool]:
        """Decodes all pictures of the wanted classes, stores them, and returns the pools.

        When another process is about it already, this one waits and takes what that has made.

        Args:
          pictures: yields the same pictures each time it is called; those of other classes are passed over.

        Raises:
          DatasetError: if a class is missing, a picture is there twice or cannot be decoded, the numbers of images are
            not the expected ones, or the cache cannot be written.
        """
        names = self.names(pictures())
        try:
            with locked(self.folder.with_name(f"{self.folder.name}.build"), wait=True):
                pools = self.read() or self._made(names, pictures)
        except OSError as error:
            raise self._unwritable(error) from error
        if pools is None:
            raise DatasetError(f"{self.folder} was written but cannot be read: set CML_TF_CACHE to another folder.")
        return pools

    def _made(
        self, names: dict[str, dict[str, list[str]]], pictures: Callable[[], Iterator[Picture]]
    ) -> dict[str, ClassPool] | None:
        own = f".{self.folder.name}."
        for left_behind in self.folder.parent.glob(f"{own}*/"):
            # By a process that was killed: whoever builds holds the lock.
            shutil.rmtree(left_behind, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix=own, dir=self.folder.parent))
        try:
            self._write(made, names, pictures())
            # Others may share the cache.
            made.chmod(0o755)
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(made, self.folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return self.read()

    def names(self, pictures: Iterator[Picture]) -> dict[str, dict[str, list[str]]]:
        """By split and class the names of the pictures, sorted; nothing is decoded.

        Raises:
          DatasetError: if a class is missing, a picture is there twice, or their numbers are not the expected ones.
        """
        found: dict[str, list[str]] = {name: [] for names in self.classes.values() for name in names}
        for picture in pictures:
            if picture.class_name in found:
                found[picture.class_name].append(picture.name)
        missing = [name for name, pictured in found.items() if not pictured]
        if missing:
            raise DatasetError(
                f"{self.name} must have images of {len(found)} classes, but {len(missing)} have none, for example "
                f"{', '.join(missing[:3])}: the files are incomplete. Download them again."
            )
        for name, pictured in found.items():
            if len(set(pictured)) != len(pictured):
                raise DatasetError(
                    f"{self.name} must contain each image once, but class {name!r} contains one twice: remove the "
                    "duplicate."
                )
        by_split = {split: {name: sorted(found[name]) for name in names} for split, names in self.classes.items()}
        counts = {split: sum(map(len, classes.values())) for split, classes in by_split.items()}
        for split, expected in self.expected.items():
            count = counts[split] if split else sum(counts.values())
            if count != expected:
                part = f"split {split}" if split else "all splits together"
                raise DatasetError(
                    f"{self.name} must have {expected} images in {part}, found {count}: the files are incomplete or "
                    "not those of the benchmark. Download them again."
                )
        return by_split

    def _write(self, folder: Path, names: dict[str, dict[str, list[str]]], pictures: Iterator[Picture]) -> None:
        arrays, rows = {}, {}
        for split, classes in names.items():
            listed = [(class_name, name) for class_name, of_class in classes.items() for name in of_class]
            rows.update({key: (split, row) for row, key in enumerate(listed)})
            shape = (len(listed), *self.image_size, _CHANNELS)
            arrays[split] = _reserved(folder / f"{split}.npy", shape)
        wanted = (picture for picture in pictures if (picture.class_name, picture.name) in rows)
        while chunk := [(picture, picture.read()) for picture in islice(wanted, _CHUNK)]:
            images = decode_contents(
                [content for _, content in chunk],
                names=[f"{self.name}: {picture.class_name}/{picture.name}" for picture, _ in chunk],
                image_size=self.image_size,
                channels=_CHANNELS,
            )
            for (picture, _), image in zip(chunk, images, strict=True):
                split, row = rows.pop((picture.class_name, picture.name))
                arrays[split][row] = image
        if rows:
            raise DatasetError(
                f"{self.name}: {len(rows)} images were listed but not read: check that no program is changing the "
                "files, and try again."
            )
        index: dict[str, Any] = {"name": self.name, "made_from": dict(self.key), "splits": {}}
        for split, classes in names.items():
            arrays[split].flush()
            counts = [len(of_class) for of_class in classes.values()]
            fingerprint = pool_fingerprint(tuple(classes), counts, arrays[split])
            index["splits"][split] = {"classes": list(classes), "counts": counts, "fingerprint": fingerprint}
        write_json(folder / _INDEX, index)

    def _pool(self, split: str, entry: Mapping[str, Any]) -> ClassPool:
        images = np.load(self.folder / f"{split}.npy", mmap_mode="r", allow_pickle=False)
        if images.shape[1:] != (*self.image_size, _CHANNELS):
            raise ValueError(f"{split}.npy has shape {images.shape}")
        return ClassPool(tuple(entry["classes"]), np.array(entry["counts"], np.int64), images, entry["fingerprint"])

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"{self.folder.parent} cannot be written ({error.strerror}): set CML_TF_CACHE to a folder with free space."
        )


def _reserved(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array in a file that has its room on disk: without, a full disk would end the process at some later write."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def is_undamaged(pool: ClassPool) -> bool:
    """Whether the images of a stored pool still are those that were written; reads all of them."""
    return pool.fingerprint == pool_fingerprint(pool.class_names, pool.counts, pool.images)
