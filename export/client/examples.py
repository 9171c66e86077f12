"""Support and query examples from folders of images, image files and .npz files."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.image_folder import SUFFIXES, class_folders, image_files
from export.client.errors import ClientError

_SUPPORT = ("support_inputs", "support_labels", "support_targets")
_QUERY = ("query_inputs", "query_labels")


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """Examples as they were found.

    Attributes:
      inputs: the bytes of image files, or an array `[examples, ...]`.
      targets: class names or numbers, one an example; None where they are not known.
      names: how to call each example.
    """

    inputs: Any
    targets: Any
    names: tuple[str, ...]


def read_support(path: Path) -> ExampleSet:
    """Support examples: one folder of images a class, or an .npz.

    An .npz holds `support_inputs`, and `support_labels` (names or whole numbers) or, for a regression,
    `support_targets`.

    Raises:
      ClientError: naming the file or folder that is missing, empty or unreadable.
    """
    if path.is_dir():
        return _class_folders(path)
    arrays = _read_arrays(path, _SUPPORT)
    targets = arrays.get("support_labels", arrays.get("support_targets"))
    if "support_inputs" not in arrays or targets is None:
        raise ClientError(
            f"{path} must hold support_inputs and support_labels (regression: support_targets), found "
            f"{', '.join(arrays) or 'none of them'}."
        )
    if targets.dtype.kind in "fc" and "support_labels" in arrays:
        raise ClientError(f"support_labels in {path} must be names or whole numbers, received {targets.dtype}.")
    return _from_arrays(arrays["support_inputs"], targets)


def read_queries(path: Path) -> ExampleSet:
    """Queries: an image, a folder of images, one folder of images a class, or an .npz with `query_inputs`.

    Answers are scored where the classes are known: by their folders, or by `query_labels` in the .npz.

    Raises:
      ClientError: naming the file or folder that is missing, empty or unreadable.
    """
    if path.is_dir():
        if any(entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir()):
            return _class_folders(path)
        return _flat_folder(path)
    if path.suffix.lower() in SUFFIXES:
        return ExampleSet([_content(path)], None, (path.name,))
    arrays = _read_arrays(path, _QUERY)
    if "query_inputs" not in arrays:
        raise ClientError(f"{path} must hold query_inputs.")
    return _from_arrays(arrays["query_inputs"], arrays.get("query_labels"))


def _class_folders(path: Path) -> ExampleSet:
    try:
        files = {folder.name: [Path(file) for file in image_files(folder)] for folder in class_folders(path)}
    except DatasetError as error:
        raise ClientError(str(error)) from error
    pairs = [(name, file) for name, members in files.items() for file in members]
    return ExampleSet(
        [_content(file) for _, file in pairs],
        [name for name, _ in pairs],
        tuple(f"{name}/{file.name}" for name, file in pairs),
    )


def _flat_folder(path: Path) -> ExampleSet:
    try:
        files = [Path(file) for file in image_files(path)]
    except DatasetError as error:
        raise ClientError(str(error)) from error
    return ExampleSet([_content(file) for file in files], None, tuple(file.name for file in files))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}.") from error


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ClientError(
            f"{path} must be a folder of images, an image ({', '.join(SUFFIXES)}) or an .npz of plain arrays: {error}"
        ) from error


def _from_arrays(inputs: np.ndarray, targets: np.ndarray | None) -> ExampleSet:
    plain = None if targets is None else targets.tolist()
    return ExampleSet(inputs, plain, tuple(f"example {position}" for position in range(len(inputs))))
