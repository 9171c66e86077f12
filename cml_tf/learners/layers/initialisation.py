"""What provided learners, heads and co-learners begin with, by name.

Where a learner begins decides how fast it meta-learns, and which start is best differs from learner to learner: the
default of each was measured (docs/DECISIONS.md):

- `fan_in_uniform`: kernels and biases uniform in ±1/sqrt(fan_in), fan_in being the inputs of a unit. The default of the
  framework that every published figure of the field was made in.
- `glorot_uniform`: kernels uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010), biases zero: Keras' own.
- `zero_head`: as `fan_in_uniform`, but the head's last linear layer zero, so that every class begins with the same
  probability. Co-learners begin as in `fan_in_uniform`: one that is never trained would otherwise stay silent.
"""

from __future__ import annotations

from typing import Any

import keras

INITIALISATIONS = ("fan_in_uniform", "glorot_uniform", "zero_head")


def kernel_initializer(initialisation: str) -> keras.initializers.Initializer:
    """A new initialiser for a kernel `[..., inputs, outputs]`; each layer needs one of its own.

    Raises:
      ValueError: for a name that is none of `INITIALISATIONS`.
    """
    if initialisation not in INITIALISATIONS:
        raise ValueError(
            f"the initialisation must be one of {', '.join(INITIALISATIONS)}, received {initialisation!r}."
        )
    if initialisation == "glorot_uniform":
        return keras.initializers.GlorotUniform()
    # A variance of 1 / (3 fan_in) is that of the uniform distribution in ±1/sqrt(fan_in).
    return keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")


def bias_initializer(initialisation: str, fan_in: int) -> keras.initializers.Initializer:
    """A new initialiser for the bias of units that have `fan_in` inputs."""
    if initialisation == "glorot_uniform":
        return keras.initializers.Zeros()
    limit = fan_in**-0.5
    return keras.initializers.RandomUniform(-limit, limit)


def linear(
    units: int, initialisation: str, activation: str | None = None, last: bool = False, name: str | None = None
) -> keras.Layer:
    """A dense layer.

    Args:
      units: its outputs.
      initialisation: one of `INITIALISATIONS`.
      activation: any Keras activation name.
      last: whether it is the last one of a head, which `zero_head` begins at zero.
      name: of the layer.

    Raises:
      ValueError: for an unknown initialisation.
    """
    kernel = kernel_initializer(initialisation)
    if last and initialisation == "zero_head":
        return Linear(units, kernel_initializer="zeros", activation=activation, name=name)
    with_bias = initialisation != "glorot_uniform"
    return Linear(units, with_bias, kernel_initializer=kernel, activation=activation, name=name)


@keras.saving.register_keras_serializable("cml_tf")
class Linear(keras.layers.Dense):
    """A dense layer whose bias can begin uniform in ±1/sqrt(inputs).

    Keras' initialisers see the shape of what they fill and no more: a bias' does not tell how many inputs there are.

    Args:
      units: as Keras'.
      bias_begins_as_kernel: whether the bias begins uniform in ±1/sqrt(inputs) instead of as `bias_initializer` says.
      **keywords: as Keras'.
    """

    def __init__(self, units: int, bias_begins_as_kernel: bool = False, **keywords: Any) -> None:
        super().__init__(units, **keywords)
        self.bias_begins_as_kernel = bias_begins_as_kernel

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights, for inputs `[..., inputs]`."""
        if self.bias_begins_as_kernel:
            self.bias_initializer = bias_initializer("fan_in_uniform", int(input_shape[-1] or 0))
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "bias_begins_as_kernel": self.bias_begins_as_kernel}
