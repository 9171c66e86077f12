"""Standardising and pooling feature maps, with first and second derivative in closed form.

Max-pool(ReLU(scale * n + shift)) of standardised maps n equals ReLU(|scale| * pool(sign(scale) * n) + shift): so maps
of full size are only standardised and pooled, and all else happens on a quarter of the pixels. Automatic
differentiation would pass over the full maps some forty times to the second derivative; these formulas need about ten
passes.

Notation, by channel: z the maps, N their pixels, n = rho * (z - mean) with rho = sign / sqrt(variance + epsilon),
p = pool(n), and P(w) = w - mean(w) - n * mean(w * n), so that rho * P is the derivative of n and its own transpose.
`spread` is the transpose of pooling: it puts a value where the pool took it from; `gather` takes it from there.

    first derivative, from cotangents dp, dmean, dvariance:
      dz = spread(rho * dp) - A - B * n
      A = (rho * sum(dp) - dmean) / N
      B = (rho * sum(dp * p) - 2 * dvariance / rho) / N
    second derivative, from the cotangent u of dz, with k = mean(u * n):
      of dp         rho * (gather(u) - mean(u) - k * p)
      of dmean      mean(u)
      of dvariance  2 * k / rho
      of p          -rho * k * dp
      of variance   -rho^3 / 2 * (sum(gather(u) * dp) - mean(u) * sum(dp) - k * sum(dp * p) - 2 * k * dvariance / rho^2)
      of z          -rho * B * P(u)

ReLU(factor * x + offset) by channel, with first and second derivative in closed form.

Notation: g = dy where y > 0, else 0.

    first derivative:   dx = factor * g,  dfactor = sum(g * x),  doffset = sum(g)
    second derivative, from cotangents u, v, w of those three:
      of dy      factor * u + v * x + w where y > 0, else 0
      of x       v * g
      of factor  sum(u * g)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.learners.layers.convolution import affine, channel_sums, pixels, projected, standardised


class Pooled(NamedTuple):
    """What comes of maps.

    Attributes:
      maps: the standardised and pooled maps.
      mean: of the maps, `[channels]`, at least float32.
      variance: of the population, likewise.
    """

    maps: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor


def standardised_pool(maps: tf.Tensor, sign: tf.Tensor, epsilon: float, pool: int = 1) -> Pooled:
    """Standardises maps over all axes but the last and takes the largest of each window.

    All three results can be differentiated twice with respect to the maps.

    Args:
      maps: `[examples, height, width, channels]`; of any rank when `pool` is 1.
      sign: `[channels]` of 1 and -1, float32 at least; a constant. Where it is -1, maps are turned over before they are
        pooled.
      epsilon: added to the variance.
      pool: edge of the square windows, which do not overlap; rows and columns that fill no window are left out of them,
        but not of the statistics. 1 for no pooling.
    """
    results: list[tf.Tensor] = []

    @tf.custom_gradient
    def run(maps: tf.Tensor, sign: tf.Tensor) -> Any:
        standard, mean, variance = standardised(maps, sign, epsilon)
        largest = Windows(standard, pool).largest

        def gradient(dp: tf.Tensor, dmean: tf.Tensor, dvariance: tf.Tensor) -> Sequence[tf.Tensor | None]:
            # The results as the tape outside knows them: what depends on them arrives here as their cotangent, on a
            # quarter of the pixels.
            pooled, _, variance = results
            cotangents = dp, dmean, dvariance
            return _derivative(epsilon, pool)(*cotangents, pooled, variance, maps, standard, largest, sign), None

        return (largest, mean, variance), gradient

    results.extend(run(maps, tf.stop_gradient(sign)))
    return Pooled(*results)


class Windows:
    """Max-pooling in windows that do not overlap, its transpose and its derivative.

    Args:
      maps: `[examples, height, width, channels]`, or of any rank when `edge` is 1.
      edge: of the square windows.
      largest: the largest entry of each window, if it is known.
    """

    def __init__(self, maps: tf.Tensor, edge: int, largest: tf.Tensor | None = None) -> None:
        self._maps = maps
        self._edge = edge
        if largest is None:
            largest = tf.nn.max_pool2d(maps, edge, edge, "VALID") if edge > 1 else maps
        self.largest = largest

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """Puts a value of each window where its largest entry is; zero elsewhere."""
        if self._edge == 1:
            return values
        # Quick because it stands beside the pooling in one graph: TensorFlow then keeps where the largest entries were.
        window = [1, self._edge, self._edge, 1]
        return tf.raw_ops.MaxPoolGrad(
            orig_input=self._maps, orig_output=self.largest, grad=values, ksize=window, strides=window, padding="VALID"
        )

    def gather(self, maps: tf.Tensor) -> tf.Tensor:
        """The entries of other maps where these have their windows' largest."""
        if self._edge == 1:
            return maps
        # One entry of each window is left, so its mean is exact; MaxPoolGradGrad takes twice as long.
        chosen = maps * self.spread(tf.ones_like(self.largest))
        return tf.nn.avg_pool2d(chosen, self._edge, self._edge, "VALID") * float(self._edge**2)


def _derivative(epsilon: float, pool: int) -> Any:
    """The first derivative as a function that can be differentiated once more, in the notation of the file's head.

    Tensors that count as constants are arguments too: `tf.custom_gradient` would search all that led to a captured one,
    and the graph would take minutes to build.
    """

    @tf.custom_gradient
    def first(
        dp: tf.Tensor,
        dmean: tf.Tensor,
        dvariance: tf.Tensor,
        pooled: tf.Tensor,
        variance: tf.Tensor,
        maps: tf.Tensor,
        standard: tf.Tensor,
        largest: tf.Tensor,
        sign: tf.Tensor,
    ) -> Any:
        windows = Windows(standard, pool, largest)
        count = pixels(maps, sign.dtype)
        rho = sign * tf.math.rsqrt(variance + epsilon)
        if _is_zero(dmean) and _is_zero(dvariance):
            # Nothing asked for the statistics, as in most first derivatives: one kernel does it all.
            dz, mean_dp, mean_dp_p = projected(windows.spread(dp), standard, rho)
            sum_dp, sum_dp_p = count * mean_dp, count * mean_dp_p
            slope = rho * mean_dp_p
        else:
            sum_dp, sum_dp_p = channel_sums(dp, pooled)
            slope = (rho * sum_dp_p - 2.0 * dvariance / rho) / count
            dz = windows.spread(affine(dp, rho)) - affine(standard, slope, (rho * sum_dp - dmean) / count)

        def second(u: tf.Tensor) -> Sequence[tf.Tensor | None]:
            of_maps, mean_u, k = projected(u, standard, -rho * slope)
            gathered = windows.gather(u)
            of_dp = affine(gathered, rho, -rho * mean_u) - affine(pooled, rho * k)
            of_rho = channel_sums(gathered, dp)[1] - mean_u * sum_dp - k * sum_dp_p
            of_rho -= 2.0 * k * dvariance / tf.square(rho)
            of_variance = -0.5 * rho**3 * of_rho
            return of_dp, mean_u, 2.0 * k / rho, affine(dp, -rho * k), of_variance, of_maps, None, None, None

        return dz, second

    return first


def _is_zero(tensor: tf.Tensor) -> bool:
    """Whether it is known, while the graph is made, to be zero: what a tape hands in for results that nobody used."""
    value = tf.get_static_value(tensor)
    return value is not None and not np.any(value)


def affine_relu(maps: tf.Tensor, factor: tf.Tensor, offset: tf.Tensor, relu: bool = True) -> tf.Tensor:
    """`factor * maps + offset`, and zero where that is negative.

    Args:
      maps: `[..., channels]`.
      factor: `[channels]`, at least float32, like `offset`.
      offset: `[channels]`.
      relu: False leaves negative values as they are.
    """

    @tf.custom_gradient
    def run(maps: tf.Tensor, factor: tf.Tensor, offset: tf.Tensor) -> Any:
        outputs = affine(maps, factor, offset)
        if relu:
            outputs = tf.nn.relu(outputs)
        return outputs, lambda upstream: _affine_relu_derivative(relu)(upstream, maps, factor, outputs)

    return run(maps, factor, offset)


def _affine_relu_derivative(relu: bool) -> Any:
    """The first derivative as a function that can be differentiated once more, in the notation of the file's head.

    The outputs are a constant in it, and an argument all the same: `tf.custom_gradient` would search all that led to a
    captured tensor, and the graph would take minutes to build.
    """

    @tf.custom_gradient
    def first(upstream: tf.Tensor, maps: tf.Tensor, factor: tf.Tensor, outputs: tf.Tensor) -> Any:
        def passed(values: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.ReluGrad(gradients=values, features=outputs) if relu else values

        g = passed(upstream)

        def second(u: tf.Tensor, v: tf.Tensor, w: tf.Tensor) -> Sequence[tf.Tensor | None]:
            of_upstream = passed(affine(u, factor, w) + affine(maps, v))
            return of_upstream, affine(g, v), channel_sums(u, g)[1], None

        sum_g, sum_g_x = channel_sums(g, maps)
        return (affine(g, factor), sum_g_x, sum_g), second

    return first
