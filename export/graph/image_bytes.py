"""Decoding image files inside the graph: damaged bytes must not raise, small files must not claim much memory."""

from __future__ import annotations

import tensorflow as tf

from cml_tf.datasets.base import plainly
from cml_tf.datasets.image_files import decode_and_resize, scale
from cml_tf.datasets.orientation import places_of

# A file of some kilobytes can decode to gigabytes; photographs of 24 megapixels pass.
MOST_PIXELS = 25_000_000
# A part of a GIF has up to 255 bytes; so many make an animation of two megabytes.
_MOST_PARTS = 1 << 13


def decode_images(contents: tf.Tensor, input_shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes all files of a task.

    Every decoder of TensorFlow raises on damaged bytes. Inside a `tf.data` pipeline such an error can be dropped
    together with its element, here the whole task; what comes out then is what stands behind it, no image at all. To
    take one element out costs next to nothing, where to reduce a pipeline costs as much as decoding a hundred images.

    Args:
      contents: the bytes of PNG, JPEG, BMP or GIF files, strings `[examples]`.
      input_shape: `(height, width, channels)` that every image is brought to.

    Returns:
      Images as the learner takes them, float32 `[examples, *input_shape]` in [0, 1], and whether all could be decoded
      and look as people see them (`is_seen_as_stored`); if not, there are no images.
    """
    height, width, channels = input_shape
    kind = tf.TensorSpec(input_shape, tf.uint8)
    nothing = tf.zeros([0, *input_shape], tf.uint8)

    def decode(content: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(decode_and_resize(content, (height, width), channels), input_shape)

    def may_be_decoded(content: tf.Tensor) -> tf.Tensor:
        small = declared_pixels(content) <= MOST_PIXELS
        return tf.cond(small, lambda: is_seen_as_stored(content), lambda: tf.constant(False))

    def decode_all(contents: tf.Tensor) -> tf.Tensor:
        sound = tf.reduce_all(tf.map_fn(may_be_decoded, contents, fn_output_signature=tf.bool))
        decoded = tf.cond(
            sound, lambda: tf.map_fn(decode, contents, fn_output_signature=kind), lambda: tf.identity(nothing)
        )
        return tf.ensure_shape(decoded, [None, *input_shape])

    as_it_is = tf.autograph.experimental.do_not_convert
    task = tf.data.Dataset.from_tensors(contents).map(as_it_is(decode_all)).ignore_errors()
    # Of no example there is always one element of none.
    otherwise = tf.data.Dataset.from_tensors(nothing).map(
        as_it_is(lambda none: tf.ensure_shape(none, [None, *input_shape]))
    )
    decoded = plainly(task.concatenate(otherwise).take(1)).get_single_element()
    complete = tf.equal(tf.shape(decoded)[0], tf.shape(contents)[0])
    return tf.ensure_shape(scale(decoded), [None, *input_shape]), complete


def is_seen_as_stored(content: tf.Tensor) -> tf.Tensor:
    """Whether the decoder gives what people see: the rules of `cml_tf.datasets.image_files`, inside the graph.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if the bytes are damaged.
    """
    return tf.case(
        [
            (_starts_with(content, b"\x89PNG"), lambda: _is_opaque_png(content)),
            (_starts_with(content, b"GIF8"), lambda: _is_opaque_gif(content)),
            (_starts_with(content, b"BM"), lambda: _is_plain_bmp(content)),
        ],
        default=lambda: tf.constant(True),
    )


def _is_opaque_png(content: tf.Tensor) -> tf.Tensor:
    data = _bytes(content)
    # Kinds 4 and 6 have an alpha channel, others may declare colours that count as transparent.
    with_alpha = (data[25] >= 4) | (tf.size(places_of(data, b"tRNS")) > 0)

    def opaque() -> tf.Tensor:
        return tf.reduce_all(tf.equal(tf.io.decode_png(content, channels=4)[..., 3], 255))

    return tf.cond(with_alpha, opaque, lambda: tf.constant(True))


def _is_opaque_gif(content: tf.Tensor) -> tf.Tensor:
    """Whether no graphic control extension in front of the first frame declares a transparent colour (GIF89a, 23)."""
    data = _bytes(content)
    colours = tf.where(data[10] >= 128, 3 * tf.bitwise.left_shift(2, data[10] % 8), 0)
    blocks = data[13 + colours :]
    controls = places_of(blocks, b"\x21\xf9\x04")

    def of_first_control() -> tf.Tensor:
        return tf.equal(blocks[controls[0] + 3] % 2, 0)

    # A frame that comes at once has no extension of its own.
    without = tf.equal(blocks[0], 0x2C) | tf.equal(tf.size(controls), 0)
    return tf.cond(without, lambda: tf.constant(True), of_first_control)


def _is_plain_bmp(content: tf.Tensor) -> tf.Tensor:
    """Whether it has 24 bits a pixel, or 8 whose palette is of greys in order, and is not compressed."""
    data = _bytes(content)
    header, bits, compression = (_little_endian(data, *field) for field in ((14, 4), (28, 2), (30, 4)))
    palette = tf.reshape(data[14 + header : 14 + header + 1024], [-1, 4])[:, :3]

    def of_greys() -> tf.Tensor:
        greys = tf.tile(tf.range(256)[:, tf.newaxis], [1, 3])
        return tf.cond(
            tf.equal(tf.shape(palette)[0], 256), lambda: tf.reduce_all(tf.equal(palette, greys)), lambda: False
        )

    known = (header >= 40) & tf.equal(compression, 0)
    return known & (tf.equal(bits, 24) | tf.cond(tf.equal(bits, 8), of_greys, lambda: tf.constant(False)))


def _bytes(content: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)


def _little_endian(data: tf.Tensor, place: int, size: int) -> tf.Tensor:
    return tf.add_n([data[place + number] * 256**number for number in range(size)])


def _starts_with(content: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(content, 0, len(magic)), magic)


def declared_pixels(content: tf.Tensor) -> tf.Tensor:
    """Height times width as the header of a file says, int64; more than any limit for another format.

    Of a GIF all pictures count, each of its own size: the decoder makes all of them to give the first.

    Raises:
      tf.errors.InvalidArgumentError: at run time, if the header is cut off.
    """

    def sides(position: int, dtype: tf.DType, little_endian: bool) -> tf.Tensor:
        header = tf.strings.substr(content, position, 2 * dtype.size)
        return tf.io.decode_raw(header, dtype, little_endian=little_endian)

    def pixels(read: tf.Tensor) -> tf.Tensor:
        # Absolute values: a BMP that is stored from top to bottom has a negative height.
        return tf.reduce_prod(tf.abs(tf.cast(read, tf.int64)))

    return tf.case(
        [
            (_starts_with(content, b"\x89PNG"), lambda: pixels(sides(16, tf.int32, little_endian=False))),
            (_starts_with(content, b"\xff\xd8\xff"), lambda: pixels(tf.io.extract_jpeg_shape(content)[:2])),
            (
                _starts_with(content, b"GIF8"),
                lambda: tf.maximum(pixels(sides(6, tf.uint16, little_endian=True)), _pixels_of_gif(_bytes(content))),
            ),
            (_starts_with(content, b"BM"), lambda: pixels(sides(18, tf.int32, little_endian=True))),
        ],
        default=lambda: tf.constant(tf.int64.max),
    )


def _pixels_of_gif(data: tf.Tensor) -> tf.Tensor:
    """What `cml_tf.datasets.image_faults.gif_pixels` counts, of bytes `[size]`; too many parts are too much."""

    def at(place: tf.Tensor) -> tf.Tensor:
        return tf.where(place < tf.size(data), data[tf.minimum(place, tf.size(data) - 1)], 0)

    def colours(place: tf.Tensor) -> tf.Tensor:
        return tf.where(at(place) >= 128, 3 * tf.bitwise.left_shift(2, at(place) % 8), 0)

    def part(
        place: tf.Tensor, pixels: tf.Tensor, inside: tf.Tensor, going_on: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        byte = at(place)
        is_picture, is_extension = ~inside & tf.equal(byte, 0x2C), ~inside & tf.equal(byte, 0x21)
        width, height = (tf.cast(at(place + side) + 256 * at(place + side + 1), tf.int64) for side in (5, 7))
        header = tf.where(is_picture, 11 + colours(place + 9), tf.where(is_extension, 2, 1 + byte))
        going_on &= inside | is_picture | is_extension
        inside = is_picture | is_extension | (inside & (byte > 0))
        pixels += tf.where(is_picture, width * height, 0)
        place += header
        return place, pixels, inside, going_on & (place < tf.size(data))

    start = (13 + colours(tf.constant(10)), tf.constant(0, tf.int64), tf.constant(False), tf.constant(True))
    _, pixels, _, unfinished = tf.while_loop(
        lambda *state: state[-1], part, start, parallel_iterations=1, maximum_iterations=_MOST_PARTS
    )
    return tf.where(unfinished, tf.int64.max, pixels)
