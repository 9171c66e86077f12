"""ResNet-12, the deeper extractor of few-shot image classification (paper, Tables 2 and 9), and its co-learner.

The paper names the network and gives no more of it. What is here is the network of the field (Oreshkin et al. 2018, Lee
et al. 2019) without its dropout, which adaptation does not support: four residual blocks of three 3x3 convolutions, of
64, 128, 256 and 512 channels. Where features end and what the co-learner reads is by analogy with `conv4`: the last
block's map before its pool.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.learners.conv4 import (
    ConvolutionalOptions,
    check_image_shape,
    co_learner_arguments,
    conv_blocks,
    convolutional_faults,
)
from cml_tf.learners.layers.convolution import Convolution
from cml_tf.learners.layers.initialisation import kernel_initializer, linear
from cml_tf.learners.learner import Learner
from cml_tf.learners.normalisation.layer import Normalisation, mode_named
from cml_tf.learners.normalisation.options import normalised_steps
from cml_tf.registry import Given, register

_WIDTHS = (1, 2, 4, 8)
_SLOPE = 0.1


@keras.saving.register_keras_serializable("cml_tf")
class ResidualBlock(keras.layers.Layer):
    """Three [3x3 convolution, normalisation] with leaky ReLU between, plus one of 1x1 past them.

    The sum goes through a leaky ReLU (slope 0.1 below zero) and, where asked for, a 2x2 max-pool. Convolutions have no
    bias where a normalisation with a shift follows each.

    Example:
      >>> ResidualBlock(8, pool=2)(np.zeros((2, 16, 16, 3), "float32")).shape
      TensorShape([2, 8, 8, 8])

    Args:
      filters: channels of the outputs.
      normalisation: mode of `Normalisation`.
      pool: edge of the max-pool; 1 for none.
      steps: of `Normalisation`.
      initialisation: what its kernels begin with (`cml_tf.learners.layers.initialisation`).
      groups: of `Normalisation`.
    """

    def __init__(
        self,
        filters: int,
        normalisation: str = "batch_transductive",
        pool: int = 1,
        steps: int = 1,
        initialisation: str = "fan_in_uniform",
        groups: int = 8,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.filters = filters
        self.normalisation = normalisation
        self.pool = pool
        self.steps = steps
        self.initialisation = initialisation
        self.groups = groups
        self.convolutions = [self._convolution(3) for _ in range(3)]
        self.normalisations = [self._normalisation() for _ in range(3)]
        self.shortcut = self._convolution(1)
        self.shortcut_normalisation = self._normalisation()
        self.pooling = keras.layers.MaxPooling2D(pool)

    def _convolution(self, edge: int) -> Convolution:
        kernel, bias = kernel_initializer(self.initialisation), not mode_named(self.normalisation).standardises
        return Convolution(self.filters, edge, padding="same", use_bias=bias, kernel_initializer=kernel)

    def _normalisation(self) -> Normalisation:
        return Normalisation(self.normalisation, steps=self.steps, groups=self.groups)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights of all parts."""
        outputs = (*input_shape[:-1], self.filters)
        for number, (convolution, normalisation) in enumerate(zip(self.convolutions, self.normalisations, strict=True)):
            convolution.build(outputs if number else input_shape)
            normalisation.build(outputs)
        self.shortcut.build(input_shape)
        self.shortcut_normalisation.build(outputs)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """From `[examples, height, width, channels]` to `[examples, height / pool, width / pool, filters]`."""
        past = self.shortcut_normalisation(self.shortcut(inputs), training=training)
        maps = inputs
        for number, (convolution, normalisation) in enumerate(zip(self.convolutions, self.normalisations, strict=True)):
            before = tf.nn.leaky_relu(maps, _SLOPE) if number else maps
            maps = normalisation(convolution(before), training=training)
        outputs = tf.nn.leaky_relu(maps + past, _SLOPE)
        return self.pooling(outputs) if self.pool > 1 else outputs

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        own = ("filters", "normalisation", "pool", "steps", "initialisation", "groups")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def resnet12(
    outputs: int | None,
    input_shape: tuple[int, ...],
    filters: int = 64,
    normalisation: str = "batch_transductive",
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
    groups: int = 8,
) -> Learner:
    """Four residual blocks, each but the last with its 2x2 max-pool, and a linear head on averages over the map.

    As with `conv4`, the last block's pool opens the head. At 84x84x3, 5-way and 64 filters it has 7,999,365 parameters.

    Example:
      >>> learner = resnet12(outputs=5, input_shape=(16, 16, 3), filters=4)
      >>> learner.example_features.shape  # before the last pool
      TensorShape([2, 2, 2, 32])

    Args:
      outputs: width of the head (the ways of a classification); None for a head that ends in the averages.
      input_shape: `(height, width, channels)`, at least 16x16.
      filters: channels of the first block; the others have 2, 4 and 8 times as many.
      normalisation: mode of `Normalisation`.
      steps: inner steps with a scale and shift of their own, in the mode `per_step`.
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).
      groups: of channels, in the mode `group`; a divisor of `filters`.

    Raises:
      ValueError: if the image is too small or not `(height, width, channels)`, or a name is unknown.
    """
    check_image_shape("resnet12", input_shape)
    pools = (2, 2, 2, 1)
    blocks = [
        ResidualBlock(filters * width, normalisation, pool, steps, initialisation, groups)
        for width, pool in zip(_WIDTHS, pools, strict=True)
    ]
    head = _read_out([], outputs, "head", initialisation)
    return Learner(keras.Sequential(blocks, name="extractor"), head, input_shape=tuple(input_shape))


def resnet12_co_learner(
    outputs: int,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    blocks: int = 2,
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
    groups: int = 8,
) -> keras.Layer:
    """The co-learner on `resnet12`'s features: 3x3 conv-norm-ReLU blocks, then pool, averages and a linear layer.

    Example:
      >>> learner = resnet12(outputs=5, input_shape=(16, 16, 3), filters=4)
      >>> resnet12_co_learner(outputs=5, filters=4)(learner.example_features).shape
      TensorShape([2, 5])

    Args:
      outputs: as the head's.
      filters: those of the learner's first block; the co-learner's blocks have 8 times as many, as the map it reads.
      normalisation: mode of `Normalisation`.
      blocks: two in `conv4`'s co-learner, whose analogue this is.
      steps: as the learner's, where the co-learner is adapted too (CL).
      initialisation: as the learner's.
      groups: likewise.

    Raises:
      ValueError: if `blocks` is negative.
    """
    name = "co_learner"
    own = {"mode": normalisation, "steps": steps, "groups": groups}
    before = conv_blocks(name, blocks, filters * _WIDTHS[-1], own, initialisation)
    return _read_out(before, outputs, name, initialisation)


def _read_out(before: list[keras.Layer], outputs: int | None, name: str, initialisation: str) -> keras.Layer:
    layers = [keras.layers.MaxPooling2D(2), keras.layers.GlobalAveragePooling2D()]
    if outputs is not None:
        layers.append(linear(outputs, initialisation, last=name == "head"))
    return keras.Sequential([*before, *layers], name=name)


def _co_learner(options: ConvolutionalOptions, given: Given, blocks: int, adapted: bool) -> keras.Layer:
    return resnet12_co_learner(blocks=blocks, **co_learner_arguments(options, given, adapted))


@register(
    "learner",
    "resnet12",
    ConvolutionalOptions,
    reads=("images",),
    co_learner=_co_learner,
    blocks=True,
    normalised=True,
    faults=convolutional_faults,
    smoke={"filters": 8},
)
def _resnet12(options: ConvolutionalOptions, given: Given) -> Learner:
    """Four residual blocks and a linear head on averages (paper, Tables 2 and 9); images of at least 16x16."""
    return resnet12(given.outputs, given.input_shape, steps=normalised_steps(options, given), **vars(options))
