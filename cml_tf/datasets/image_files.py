"""Decoding many image files into one array, with the name of the file that cannot be decoded."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow as tf

from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.preprocessing import decode_and_resize

_CHUNK = 64


def decode_files(
    paths: Sequence[str], *, image_size: tuple[int, int], channels: int, names: Sequence[str] | None = None
) -> np.ndarray:
    """Reads and decodes image files; see `decode_contents` for `names`, the result and the error."""
    for path, name in zip(paths, names or paths, strict=True):
        # What is not there is left to the decoder's own reading, which says so.
        if Path(path).is_file():
            with Path(path).open("rb") as file:
                _check(file, name)
    # As bytes: TensorFlow would take text for UTF-8, which names of files need not be.
    return _decode_all([os.fsencode(path) for path in paths], tf.io.read_file, names or paths, image_size, channels)


def decode_contents(
    contents: Sequence[bytes], *, names: Sequence[str], image_size: tuple[int, int], channels: int
) -> np.ndarray:
    """Decodes images that are in memory.

    Args:
      contents: the bytes of each file.
      names: how to call each file in an error.
      image_size: height and width that every image is resized to.
      channels: 1 or 3.

    Returns:
      uint8 `[len(contents), *image_size, channels]`.

    Raises:
      DatasetError: naming the first file that is not an image, or would not look as people see it (`image_fault`).
    """
    for content, name in zip(contents, names, strict=True):
        _check(io.BytesIO(content), name)
    return _decode_all(contents, tf.identity, names, image_size, channels)


def _check(file: IO[bytes], name: str) -> None:
    if fault := image_fault(file):
        raise DatasetError(f"{name} cannot be used: {fault}.")


def _decode_all(
    items: Sequence[bytes],
    read: Callable[[tf.Tensor], tf.Tensor],
    names: Sequence[str],
    image_size: tuple[int, int],
    channels: int,
) -> np.ndarray:
    def decode_one(item: tf.Tensor) -> tf.Tensor:
        return decode_and_resize(read(item), image_size, channels)

    images = np.empty((len(items), *image_size, channels), np.uint8)
    dataset = tf.data.Dataset.from_tensor_slices(np.array(items, object)).map(
        decode_one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    done = 0
    try:
        for chunk in dataset.batch(_CHUNK).prefetch(2).as_numpy_iterator():
            images[done : done + len(chunk)] = chunk
            done += len(chunk)
    except tf.errors.OpError as error:
        # The error does not say which file it was, only that it is one of the next chunk (or prefetched after it).
        for item, name in zip(items[done:], names[done:], strict=True):
            try:
                decode_one(tf.constant(item))
            except tf.errors.OpError as cause:
                raise DatasetError(
                    f"{name} cannot be read as a PNG, JPEG, BMP or GIF image with {channels} channels; save it as PNG "
                    f"or remove it. ({cause.message.splitlines()[0]})"
                ) from error
        raise
    return images
