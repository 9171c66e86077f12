"""Many image files as one array, with the name of the file that cannot be decoded.

From the bytes of an image file to what a learner sees: one path for loaders, the exported graph and the client.

The path has two halves with an integer image between them. Loaders may therefore keep images as uint8, a quarter of the
memory, and still feed the very numbers that a served graph computes from the file's bytes:

    scale(decode_and_resize(contents, (28, 28), 1))      # float32 [28, 28, 1] in [0, 1]

Only stock TensorFlow operations are used, so both halves work inside `tf.function`, `tf.map_fn` and a SavedModel.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import plainly
from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.orientation import orientation_of, upright
from cml_tf.errors import DatasetError

_CHUNK = 64
# Where in a graph an error was says nothing about a file.
_OPERATIONS = re.compile(r"\{\{.*?\}\} ?| \[Op:.*")


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


@functools.cache
def decoder(image_size: tuple[int, int], channels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """`decode_and_resize` to one size, as a graph.

    It is traced once for all splits and archives: a thousand operations, which take as long as hundreds of small files.
    """
    return tf.function(
        lambda contents: decode_and_resize(contents, image_size, channels),
        [tf.TensorSpec([], tf.string)],
        autograph=False,
    )


def _decode_all(
    items: Sequence[bytes],
    read: Callable[[tf.Tensor], tf.Tensor],
    names: Sequence[str],
    image_size: tuple[int, int],
    channels: int,
) -> np.ndarray:
    decode_file = decoder(tuple(image_size), channels)

    def decode_one(item: tf.Tensor) -> tf.Tensor:
        return decode_file(read(item))

    images = np.empty((len(items), *image_size, channels), np.uint8)
    files = plainly(tf.data.Dataset.from_tensor_slices(np.array(items, object)))
    dataset = files.map(tf.autograph.experimental.do_not_convert(decode_one), num_parallel_calls=tf.data.AUTOTUNE)
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
                    f"{name} cannot be read as a PNG, JPEG, BMP or GIF image with {channels} channels: save it as PNG "
                    f"or remove it. ({_OPERATIONS.sub('', cause.message.splitlines()[0])})"
                ) from error
        raise
    return images


CHANNELS = (1, 3)


def decode(contents: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes one PNG, JPEG, BMP or GIF (first frame), turned as its EXIF orientation asks.

    Transparency is dropped, and the palette of a BMP: loaders and the client refuse such files (`image_faults`), and so
    does a served graph (`export.graph.image_bytes`).

    Args:
      contents: the bytes of the file, scalar string.
      channels: 1 for grey, 3 for colour; PNG and JPEG of the other kind are converted by the decoder, GIF and most BMP
        are of 3 only.

    Returns:
      uint8 `[height, width, channels]`, height and width known only at run time.

    Raises:
      ValueError: if `channels` is neither 1 nor 3.
      tf.errors.InvalidArgumentError: at run time, if the bytes are not an image.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels must be 1 (grey) or 3 (colour), received {channels!r}.")
    image = tf.io.decode_image(contents, channels=channels, expand_animations=False)
    return upright(tf.ensure_shape(image, [None, None, channels]), orientation_of(contents))


def resize(image: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Resizes uint8 `[height, width, channels]` to `image_size`, antialiased bilinear, rounded back to uint8.

    The aspect ratio is not kept: the whole image is mapped onto the whole result.
    """
    resized = tf.image.resize(image, image_size, method="bilinear", antialias=True)
    # Saturate: interpolation weights may add up to a hair more than one.
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def decode_and_resize(contents: tf.Tensor, image_size: tuple[int, int], channels: int) -> tf.Tensor:
    """The first half: bytes of one image file -> uint8 `[*image_size, channels]` in [0, 255].

    Args:
      contents: the bytes of a PNG, JPEG, BMP or GIF, scalar string.
      image_size: height and width of the result.
      channels: 1 or 3.

    Raises:
      ValueError: if `channels` is neither 1 nor 3.
      tf.errors.InvalidArgumentError: at run time, if the bytes are not an image.
    """
    return resize(decode(contents, channels), image_size)


def scale(images: tf.Tensor) -> tf.Tensor:
    """The second half: uint8 images of any shape -> float32 in [0, 1], 255 becomes 1."""
    # Not a division: graph optimisation turns that into this, and eager results would differ in the last bit.
    return tf.cast(images, tf.float32) * (1.0 / 255.0)
