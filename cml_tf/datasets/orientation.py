"""How a camera was held: the EXIF orientation of a JPEG or PNG, read and undone with TensorFlow's operations alone.

TensorFlow's decoders give pixels as they are stored; viewers and browsers turn them. The tag is read here inside the
graph, so a served model sees what training saw (EXIF 2.32, sections 4.5.2 and 4.6.4; PNG 1.5 extensions, eXIf).
"""

from __future__ import annotations

import tensorflow as tf

_TAG = 0x0112
_APP1 = b"\xff\xe1"
# An Exif segment is among the first ones of a JPEG, and none is longer than 64 KiB.
_JPEG_HEADER = 1 << 18
# More fields than any camera writes; a damaged count must not make a long table.
_MOST_FIELDS = 256


def orientation_of(contents: tf.Tensor) -> tf.Tensor:
    """The orientation that an image file asks for: int32 scalar from 1 (as stored) to 8.

    Args:
      contents: the bytes of the file, scalar string. Anything but a JPEG or PNG with a sound Exif block is 1, as in
        viewers.
    """

    def of_jpeg() -> tf.Tensor:
        return _of_block(tf.strings.substr(contents, 0, _JPEG_HEADER), b"Exif\x00\x00", _APP1)

    def of_png() -> tf.Tensor:
        return _of_block(contents, b"eXIf")

    start = tf.strings.substr(contents, 0, 4)
    cases = [(tf.equal(tf.strings.substr(start, 0, 2), b"\xff\xd8"), of_jpeg), (tf.equal(start, b"\x89PNG"), of_png)]
    return tf.case(cases, default=lambda: tf.constant(1))


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors `[height, width, channels]` as stored into what people see.

    Args:
      image: any dtype; height and width may be unknown.
      orientation: int32 scalar from 1 to 8; 5 to 8 exchange height and width.
    """

    def is_one_of(*values: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, values))

    def turned() -> tf.Tensor:
        other = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: tf.identity(image))
        other = tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(other, [1]), lambda: tf.identity(other))
        return tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(other, [0]), lambda: tf.identity(other))

    result = tf.cond(tf.equal(orientation, 1), lambda: tf.identity(image), turned)
    return tf.ensure_shape(result, [None, None, image.shape[-1]])


def _of_block(contents: tf.Tensor, name: bytes, marker: bytes = b"") -> tf.Tensor:
    """The orientation in the first block of that name that begins as TIFF data do.

    Args:
      contents: scalar string.
      name: of the block.
      marker: what stands before its two bytes of length, for segments of a JPEG: a comment may hold the name too.
    """
    data = tf.cast(tf.io.decode_raw(contents, tf.uint8), tf.int32)
    little = places_of(data, name + b"II*\x00")
    big = places_of(data, name + b"MM\x00*")
    found = tf.concat([little, big], 0)
    for position, byte in enumerate(marker):
        before = tf.maximum(found - 2 - len(marker) + position, 0)
        found = tf.boolean_mask(found, tf.equal(tf.gather(data, before), byte))
    return tf.cond(
        tf.size(found) > 0,
        lambda: _of_tiff(data[tf.reduce_min(found) + len(name) :]),
        lambda: tf.constant(1),
    )


def places_of(data: tf.Tensor, pattern: bytes) -> tf.Tensor:
    """Where a pattern begins in bytes `[size]` (int32): int32 `[found]`, ascending."""
    count = tf.maximum(tf.size(data) - len(pattern) + 1, 0)
    # The rarest test first would need loops; the first byte leaves one place in 256.
    candidates = tf.cast(tf.where(tf.equal(data[:count], pattern[0]))[:, 0], tf.int32)
    window = tf.gather(data, candidates[:, tf.newaxis] + tf.range(len(pattern)))
    return tf.boolean_mask(candidates, tf.reduce_all(tf.equal(window, list(pattern)), 1))


def _of_tiff(data: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of TIFF data `[size]`; 1 where it has none, or reaches past the end."""
    little = tf.equal(data[0], ord("I"))

    def at(place: tf.Tensor) -> tf.Tensor:
        inside = (place >= 0) & (place < tf.size(data))
        return tf.where(inside, tf.gather(data, tf.where(inside, place, 0)), 0)

    def short(place: tf.Tensor) -> tf.Tensor:
        first, second = at(place), at(place + 1)
        return tf.where(little, first + 256 * second, 256 * first + second)

    low, high = short(tf.constant(4)), short(tf.constant(6))
    directory = tf.where(little, low + 65536 * high, 65536 * low + high)
    fields = directory + 2 + 12 * tf.range(tf.minimum(short(directory), _MOST_FIELDS))
    matches = tf.boolean_mask(fields, tf.equal(short(fields), _TAG))
    value = tf.cond(tf.size(matches) > 0, lambda: short(matches[0] + 8), lambda: tf.constant(1))
    return tf.where((value >= 1) & (value <= 8), value, 1)
