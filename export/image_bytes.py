"""Decoding image files inside the graph: damaged bytes must not raise, small files must not claim much memory."""

from __future__ import annotations

import tensorflow as tf

from cml_tf.datasets.preprocessing import decode_and_resize, scale

# A file of some kilobytes can decode to gigabytes; photographs of 24 megapixels pass.
MOST_PIXELS = 25_000_000


def decode_images(contents: tf.Tensor, input_shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes all files of a task.

    Every decoder of TensorFlow raises on damaged bytes. Inside a `tf.data` pipeline such an error can be dropped
    together with its element; a file that is missing at the end was damaged, or of more than `MOST_PIXELS`.

    Args:
      contents: the bytes of PNG, JPEG, BMP or GIF files, strings `[examples]`.
      input_shape: `(height, width, channels)` that every image is brought to.

    Returns:
      Images as the learner takes them, float32 `[examples, *input_shape]` in [0, 1], and whether all could be decoded;
      if not, all images are zero.
    """
    height, width, channels = input_shape
    count = tf.shape(contents)[0]

    def decode(content: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(decode_and_resize(content, (height, width), channels), input_shape)

    files = tf.data.Dataset.from_tensor_slices(contents).filter(lambda content: declared_pixels(content) <= MOST_PIXELS)
    # One batch of all, or none if there is no image: the reduction hands it on.
    everything = files.map(decode).ignore_errors().batch(tf.maximum(tf.cast(count, tf.int64), 1))
    nothing = tf.zeros([0, *input_shape], tf.uint8)
    decoded = everything.reduce(nothing, lambda _, batch: tf.ensure_shape(batch, [None, *input_shape]))
    complete = tf.equal(tf.shape(decoded)[0], count)
    images = tf.cond(complete, lambda: scale(decoded), lambda: tf.zeros([count, *input_shape]))
    return tf.ensure_shape(images, [None, *input_shape]), complete


def declared_pixels(content: tf.Tensor) -> tf.Tensor:
    """Height times width as the header of a file says, int64; more than any limit for another format.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if the header is cut off.
    """

    def sides(position: int, dtype: tf.DType, little_endian: bool) -> tf.Tensor:
        header = tf.strings.substr(content, position, 2 * dtype.size)
        return tf.io.decode_raw(header, dtype, little_endian=little_endian)

    def starts_with(magic: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(content, 0, len(magic)), magic)

    def pixels(read: tf.Tensor) -> tf.Tensor:
        # Absolute values: a BMP that is stored from top to bottom has a negative height.
        return tf.reduce_prod(tf.abs(tf.cast(read, tf.int64)))

    return tf.case(
        [
            (starts_with(b"\x89PNG"), lambda: pixels(sides(16, tf.int32, little_endian=False))),
            (starts_with(b"\xff\xd8\xff"), lambda: pixels(tf.io.extract_jpeg_shape(content)[:2])),
            (starts_with(b"GIF8"), lambda: pixels(sides(6, tf.uint16, little_endian=True))),
            (starts_with(b"BM"), lambda: pixels(sides(18, tf.int32, little_endian=True))),
        ],
        default=lambda: tf.constant(tf.int64.max),
    )
