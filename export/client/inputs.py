"""What users have, as the server takes it: one task, float32 examples or files, numbered classes.

Files of arrays may come from strangers: they give arrays of plain values or an error, and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_labels, numbered
from cml_tf.datasets.storage.npz import DAMAGE, open_npz
from cml_tf.errors import DatasetError
from export.client.errors import ClientError
from export.client.interface import Interface


def are_files(examples: Any) -> bool:
    """Whether these are the contents of files; nothing at all are none."""
    return count(examples) > 0 and all(isinstance(example, bytes) for example in examples)


def count(examples: Any) -> int:
    """How many there are.

    Raises:
      ClientError: if it is one value and no list of them.
    """
    try:
        return len(examples)
    except TypeError as error:
        raise ClientError(
            f"examples must be an array or a list, received a single {type(examples).__name__}."
        ) from error


def as_files(examples: Any, interface: Interface) -> np.ndarray:
    """Contents of files as objects `[1, examples]`."""
    _check_takes_files(interface)
    files = np.empty((1, len(examples)), object)
    files[0] = examples
    return files


def as_examples(examples: Any, interface: Interface) -> np.ndarray:
    """Arrays, or the contents of files, as float32 `[1, examples, ...]`."""
    if are_files(examples):
        _check_takes_files(interface)
        return decoded(examples, interface.input_shape)[None]
    try:
        array = np.asarray(examples, np.float32)
    except (TypeError, ValueError) as error:
        raise ClientError(f"inputs must be numbers, or the bytes of image files: {error}") from error
    if array.shape[1:] != interface.input_shape or array.ndim != 1 + len(interface.input_shape):
        raise ClientError(
            f"inputs must have the shape [examples, {', '.join(map(str, interface.input_shape))}], received "
            f"{list(array.shape)}."
        )
    return array[None]


def as_targets(targets: Any, interface: Interface, examples: int) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Targets with task axis, and the names of the classes if these are classes.

    Raises:
      ClientError: if there are more classes than ways, fewer than two, or not one target an example.
    """
    received = count(targets)
    if received != examples or examples == 0:
        raise ClientError(f"each support example must have one target, received {examples} and {received}.")
    if not interface.classification:
        return _numbers(targets, interface.outputs), None
    try:
        names, labels = numbered(class_labels(targets))
    except ClassNameError as error:
        raise ClientError(str(error)) from error
    if not 2 <= len(names) <= interface.outputs:
        raise ClientError(
            f"classes must be 2 to {interface.outputs} for this model, received {len(names)}: {', '.join(names[:10])}. "
            "Send that many, or export a model with more ways."
        )
    return labels[None], names


def _numbers(targets: Any, outputs: int) -> np.ndarray:
    try:
        array = np.asarray(targets, np.float32)
    except (TypeError, ValueError) as error:
        raise ClientError(f"the targets of a regression must be numbers: {error}") from error
    if array.ndim == 1 and outputs == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != outputs:
        raise ClientError(f"targets must have the shape [support, {outputs}], received {list(array.shape)}.")
    return array[None]


def _check_takes_files(interface: Interface) -> None:
    if not interface.takes_files:
        shape = ", ".join(map(str, interface.input_shape))
        raise ClientError(
            f"this model takes arrays [examples, {shape}] instead of image files: pass an .npz, for example."
        )


def decoded(files: Any, input_shape: tuple[int, ...]) -> np.ndarray:
    """As training, evaluation and the exported graph decode: by the one function, which needs TensorFlow.

    Raises:
      ClientError: naming the file that cannot be decoded, or if TensorFlow is not installed.
    """
    try:
        # Other decoders give other pixels: a JPEG differs by up to 8 of 255 levels.
        from cml_tf.datasets.image_files import decode_contents, scale
    except ModuleNotFoundError as error:
        raise ClientError(
            "image files outside adapt_and_predict are decoded by the client, which needs TensorFlow: install it, "
            "use adapt_and_predict, whose files the server decodes, or pass arrays."
        ) from error
    height, width, channels = input_shape
    names = [f"file {position}" for position in range(len(files))]
    try:
        images = decode_contents(files, names=names, image_size=(height, width), channels=channels)
    except DatasetError as error:
        raise ClientError(str(error)) from error
    return scale(images).numpy()


def read_arrays(path: Path, names: Sequence[str], expected: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file holds.

    Args:
      path: of the file.
      names: of the arrays that are looked for.
      expected: what the file must be, for the error.

    Raises:
      ClientError: if it is not there, is no .npz, is damaged, or one of these arrays holds objects.
    """
    try:
        with open_npz(path) as file:
            return {name: file[name] for name in names if name in file}
    except DatasetError as error:
        raise ClientError(str(error)) from error
    except DAMAGE as error:
        raise ClientError(f"{path} must be {expected}: {error}") from error
