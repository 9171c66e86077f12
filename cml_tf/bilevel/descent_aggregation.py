"""The direction of bilevel descent aggregation: inner steps that follow the upper loss too.

BDA (Liu et al. 2020, arXiv 2006.04045), one of the methods of BOML: the t-th step follows

    (1 - mixing / t) * lower_scale * dL/dy + (mixing / t) * upper_scale * dF/dy.

Where the lower loss has many minima, plain steps end in whichever is nearest to their start; these end in the one that
the upper loss likes best, and the lower loss still has the last word, since its share tends to 1. It changes where the
steps lead, and nothing about how they are differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class DescentAggregation:
    """Mixes the gradient of the upper loss into each inner step, less and less of it.

    Example:
      >>> one = cml_tf.bilevel.DescentAggregation(mixing=0.5)
      >>> float(one.mixed(tf.constant(1.0), tf.constant(3.0), tf.constant(2)))
      1.5

    Args:
      mixing: the share of the upper loss in the first step, from 0 (none: plain steps) to 1; the t-th has the t-th part
        of it.
      lower_scale: what the lower loss is multiplied by, positive.
      upper_scale: what the upper loss is multiplied by, positive.
    """

    mixing: float
    lower_scale: float = 1.0
    upper_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing must be from 0 to 1, received {self.mixing}.")
        if not (self.lower_scale > 0 and self.upper_scale > 0):
            raise ValueError(
                f"lower_scale and upper_scale must be positive, received {self.lower_scale} and {self.upper_scale}."
            )

    def mixed(self, lower: tf.Tensor, upper: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
        """What the gradient of a step is taken of.

        Args:
          lower: the lower loss, a scalar.
          upper: the upper loss.
          turn: which step it is; the first is 1.
        """
        share = self.mixing / tf.cast(turn, lower.dtype)
        return (1 - share) * self.lower_scale * lower + share * self.upper_scale * tf.cast(upper, lower.dtype)
