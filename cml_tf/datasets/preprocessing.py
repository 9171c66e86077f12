"""From the bytes of an image file to what a learner sees: one path for loaders, the exported graph and the client.

The path has two halves with an integer image between them. Loaders may therefore keep images as uint8, a quarter of the
memory, and still feed the very numbers that a served graph computes from the file's bytes:

    scale(decode_and_resize(contents, (28, 28), 1))      # float32 [28, 28, 1] in [0, 1]

Only stock TensorFlow operations are used, so both halves work inside `tf.function`, `tf.map_fn` and a SavedModel.
"""

from __future__ import annotations

import tensorflow as tf

from cml_tf.datasets.orientation import orientation_of, upright

CHANNELS = (1, 3)


def decode(contents: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes one PNG, JPEG, BMP or GIF (first frame), turned as its EXIF orientation asks.

    Transparency is dropped, and the palette of a BMP: loaders and the client refuse such files (`image_faults`), and so
    does a served graph (`export.image_bytes`).

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
