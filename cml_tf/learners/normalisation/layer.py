"""The normalisation layer of the provided learners, in modes that differ in where the statistics come from."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

import cml_tf.learners.normalisation.modes  # noqa: F401 - what this folder holds registers when it is imported
from cml_tf.learners.normalisation.mode import MODES, Mode


@keras.saving.register_keras_serializable("cml_tf")
class Normalisation(keras.layers.Layer):
    """Normalisation with a learned scale and shift a channel, and ReLU and max-pool.

    ReLU and pool belong to the layer because they cost next to nothing there: maps are pooled before anything else is
    done to them (`standardised_pool`).

    Example:
      >>> maps = np.random.default_rng(0).normal(5, 3, (4, 8, 8, 2)).astype("float32")
      >>> normalised = Normalisation()(maps).numpy()
      >>> bool(abs(normalised.mean()) < 1e-3), bool(abs(normalised.std() - 1) < 1e-3)
      (True, True)

    Args:
      mode: one of `MODES`, which docs/NORMALISATION.md compares. Under `batch_transductive`, the paper's, and
        `per_step` a query's prediction depends on the other queries that are asked with it; in all other modes it is
        the same alone and in company.
      epsilon: added to the variance.
      relu: whether negative outputs become zero.
      pool: edge of the windows of which only the largest output is kept, 1 for all outputs; rows and columns that fill
        no window are dropped, but count in the statistics.
      steps: how many inner steps have a scale and a shift of their own, in mode `per_step`; else 1.
      groups: of channels, in mode `group`; a divisor of their number.

    Raises:
      ValueError: for an unknown mode, a pool or groups below 1, or a number of steps that the mode does not have.
    """

    def __init__(
        self,
        mode: str = "batch_transductive",
        epsilon: float = 1e-5,
        relu: bool = False,
        pool: int = 1,
        steps: int = 1,
        groups: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = mode_named(mode)
        if pool < 1:
            raise ValueError(f"pool must be at least 1 (no pooling), received {pool}.")
        if steps < 1 or (steps > 1 and not kind.counts_steps):
            raise ValueError(f"steps must be 1 (or more in mode per_step), received {steps} in mode {mode}.")
        if groups < 1:
            raise ValueError(f"groups must be at least 1, received {groups}.")
        self.mode = mode
        self.epsilon = epsilon
        self.relu = relu
        self.pool = pool
        self.steps = steps
        self.groups = groups

    @property
    def threads_state(self) -> bool:
        """Whether the layer has state that follows the task: the statistics of its support set, or a count of steps."""
        return MODES[self.mode].threads_state

    @property
    def state_follows_parameters(self) -> bool:
        """Whether that state is of certain parameters, and out of date once they are updated."""
        return MODES[self.mode].follows_parameters

    @property
    def outer_variables(self) -> tuple[keras.Variable, ...]:
        """The weights that the outer loop alone learns."""
        return MODES[self.mode].outer_variables(self)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the variables of the mode."""
        MODES[self.mode].build(self, input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalises `[..., channels]`; statistics are taken in float32 at least.

        Args:
          inputs: a batch of one task; `[examples, height, width, channels]` when there is a pool.
          training: True on support sets, of which some modes keep something for the queries.
        """
        return MODES[self.mode].call(self, inputs, training)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        own = ("mode", "epsilon", "relu", "pool", "steps", "groups")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def mode_named(name: str) -> Mode:
    """The mode of that name.

    Raises:
      ValueError: listing the names there are.
    """
    if name not in MODES:
        raise ValueError(f"normalisation mode must be one of {', '.join(MODES)}, received {name!r}.")
    return MODES[name]
