"""Small adapted states: what a task moved, in half precision or in bytes.

A compact state is the difference of an adapted state from the served initial values, which the server has anyway:
`compact_state_bytes` of a task holds little-endian float16 values, or int8 values of which each tensor has one scale in
`compact_scales`. Bytes, since neither protocol of TensorFlow Serving carries float16 or int8 well: REST reads no
float16 at all, and gRPC writes three bytes for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.requests.boundary import finite
from export.requests.form import Tensors

ADAPT_COMPACT, PREDICT_COMPACT = "adapt_compact", "predict_compact"
BYTES, SCALES = "compact_state_bytes", "compact_scales"
STATES = ("float32", "float16", "int8")
_LARGEST = 127


class Compact(NamedTuple):
    """An encoded difference: its values as `CompactStates.dtype`, the scales of int8, and whether all are finite."""

    values: tf.Tensor
    scales: tf.Tensor | None
    finite: tf.Tensor


@dataclass(frozen=True)
class CompactStates:
    """Encodes and decodes.

    Attributes:
      dtype: `float16` or `int8`.
      sizes: how many values each tensor of a state has.
    """

    dtype: str
    sizes: tuple[int, ...]

    @property
    def length(self) -> int:
        """Values in a state."""
        return sum(self.sizes)

    @property
    def bytes(self) -> int:
        """Bytes of a task, scales included."""
        return self.length * self._width + 4 * len(self._scale_shape) * len(self.sizes)

    @property
    def outputs(self) -> dict[str, tf.TensorSpec]:
        """Of one task, no task axis."""
        scales = {SCALES: tf.TensorSpec(self._scale_shape, tf.float32)} if self._scale_shape else {}
        return {BYTES: tf.TensorSpec([], tf.string), **scales}

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """The same with task axis; the number of scales is left open, as a state's length is."""
        specs = {BYTES: tf.TensorSpec([None], tf.string)}
        return specs | ({SCALES: tf.TensorSpec([None, None], tf.float32)} if self._scale_shape else {})

    @property
    def _scale_shape(self) -> list[int]:
        return [len(self.sizes)] if self.dtype == "int8" else []

    @property
    def _width(self) -> int:
        return np.dtype(self.dtype).itemsize

    def encode(self, difference: tf.Tensor) -> Compact:
        """The difference of a state from the initial values, float32 `[length]`, in fewer bytes.

        float16 rounds to 11 binary digits (values below 6e-5 to multiples of 6e-8); int8 to 1/127 of the largest
        absolute value of the tensor. Zero is exact.
        """
        if self.dtype == "float16":
            halves = tf.cast(difference, tf.float16)
            return Compact(halves, None, finite(halves))
        largest = [tf.reduce_max(tf.abs(piece), keepdims=True) for piece in tf.split(difference, self._pieces)]
        scales = tf.concat(largest or [tf.zeros([0])], 0)[: len(self.sizes)] / _LARGEST
        whole = tf.round(tf.math.divide_no_nan(difference, tf.repeat(scales, self.sizes)))
        # Division may round up; of a scale that underflows nothing is left.
        return Compact(tf.cast(tf.clip_by_value(whole, -_LARGEST, _LARGEST), tf.int8), scales, finite(scales))

    @property
    def _pieces(self) -> list[int]:
        return list(self.sizes) or [0]

    def sent(self, compact: Compact) -> Tensors:
        """The outputs of a task."""
        raw = tf.reshape(tf.bitcast(compact.values, tf.uint8), [-1])
        count = self.length * self._width
        # Its last bytes are the values as they lie in memory, which on every server is little-endian.
        content = tf.strings.substr(tf.io.serialize_tensor(raw), -count, count)
        return {BYTES: content, **({} if compact.scales is None else {SCALES: compact.scales})}

    def decode(self, inputs: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        """The difference that a task sent, float32 `[length]`, and whether what it sent has the right lengths.

        Nothing that is sent can raise: bytes that are missing count as 0.
        """
        raw = tf.io.decode_raw(inputs[BYTES], tf.uint8)
        count = self.length * self._width
        fits = tf.equal(tf.size(raw), count)
        raw = tf.concat([raw, tf.zeros([count], tf.uint8)], 0)[:count]
        if self.dtype == "float16":
            return tf.cast(tf.bitcast(tf.reshape(raw, [-1, 2]), tf.float16), tf.float32), fits
        number = len(self.sizes)
        scales = inputs[SCALES]
        fits = fits & tf.equal(tf.size(scales), number)
        scales = tf.concat([scales, tf.zeros([number])], 0)[:number]
        return tf.cast(tf.bitcast(raw, tf.int8), tf.float32) * tf.repeat(scales, self.sizes), fits
