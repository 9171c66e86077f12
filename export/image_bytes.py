"""Decoding image files inside the graph, where damaged bytes must not raise."""

from __future__ import annotations

import tensorflow as tf

from cml_tf.datasets.preprocessing import decode_and_resize, scale


def decode_images(contents: tf.Tensor, input_shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes all files of a task.

    Every decoder of TensorFlow raises on damaged bytes. Inside a `tf.data` pipeline such an error can be dropped together
    with its element; a file that is missing at the end was damaged.

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

    images = tf.data.Dataset.from_tensor_slices(contents).map(decode).ignore_errors()
    # One batch of all, or none if there is no image: the reduction hands it on.
    everything = images.batch(tf.maximum(tf.cast(count, tf.int64), 1))
    nothing = tf.zeros([0, *input_shape], tf.uint8)
    decoded = everything.reduce(nothing, lambda _, batch: tf.ensure_shape(batch, [None, *input_shape]))
    complete = tf.equal(tf.shape(decoded)[0], count)
    images = tf.cond(complete, lambda: scale(decoded), lambda: tf.zeros([count, *input_shape]))
    return tf.ensure_shape(images, [None, *input_shape]), complete
