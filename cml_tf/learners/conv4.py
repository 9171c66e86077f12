"""The four-block convolutional learner of few-shot image classification, and its co-learner (paper, 4.2 and A.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from cml_tf.learners.example import as_input_shape
from cml_tf.learners.layers.convolution import Convolution
from cml_tf.learners.layers.initialisation import INITIALISATIONS, kernel_initializer, linear
from cml_tf.learners.learner import Learner
from cml_tf.learners.normalisation.layer import Normalisation, mode_named
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.learners.normalisation.options import normalisation_faults, normalised_steps
from cml_tf.registry import Given, Settings, option, register, setting, variant


def conv4(
    outputs: int | None,
    input_shape: tuple[int, ...],
    filters: int = 64,
    normalisation: str = "batch_transductive",
    extra_blocks: int = 0,
    head_blocks: int = 0,
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
    groups: int = 8,
) -> Learner:
    """Four [3x3 convolution, normalisation, ReLU, 2x2 max-pool] blocks and a linear head.

    The features are block 4's map *before* its pool, since that is what the co-learner reads; the pool, which has no
    weights, opens the head. At 84x84x3, 5-way and 64 filters it has 121,093 parameters.

    Example:
      >>> learner = conv4(outputs=5, input_shape=(84, 84, 3))
      >>> count_parameters(learner.variables)
      121093

    Args:
      outputs: width of the head (the ways of a classification); None for a head that ends before its linear layer, for
        rules that bring their own.
      input_shape: `(height, width, channels)`, at least 16x16; odd sizes lose their last row or column in each pool.
      filters: channels of every block.
      normalisation: mode of `Normalisation`.
      extra_blocks: unpooled blocks after block 4 (More-MAML has 3: 232,261 parameters).
      head_blocks: blocks of the head before its pool (the paper's Table 7, equal capacity, has 2).
      steps: inner steps with a scale and shift of their own, in the mode `per_step`.
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).
      groups: of channels, in the mode `group`; a divisor of `filters`.

    Raises:
      ValueError: if the image is too small or not `(height, width, channels)`, or a name is unknown.
    """
    check_image_shape("conv4", input_shape)
    pools = [2, 2, 2, *[1] * (1 + extra_blocks)]
    own = {"mode": normalisation, "steps": steps, "groups": groups}
    layers = [layer for pool in pools for layer in conv_block(filters, own, initialisation, pool)]
    extractor = keras.Sequential(layers, name="extractor")
    head = conv4_head(outputs, filters, normalisation, head_blocks, "head", steps, initialisation, groups)
    return Learner(extractor, head, input_shape=tuple(input_shape))


def conv4_head(
    outputs: int | None,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    blocks: int = 0,
    name: str = "head",
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
    groups: int = 8,
) -> keras.Layer:
    """A head on `conv4`'s features: conv-norm-ReLU blocks (usually none), a pool, then a linear layer.

    Example:
      >>> learner = conv4(outputs=5, input_shape=(28, 28, 1), filters=8)
      >>> conv4_head(outputs=3, filters=8)(learner.example_features).shape
      TensorShape([2, 3])

    Raises:
      ValueError: if `blocks` is negative.
    """
    own = {"mode": normalisation, "steps": steps, "groups": groups}
    layers = conv_blocks(name, blocks, filters, own, initialisation)
    read_out = [keras.layers.MaxPooling2D(2), keras.layers.Flatten()]
    if outputs is not None:
        read_out.append(linear(outputs, initialisation, last=name == "head"))
    return keras.Sequential([*layers, *read_out], name=name)


def conv4_co_learner(
    outputs: int,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    blocks: int = 2,
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
    groups: int = 8,
) -> keras.Layer:
    """The co-learner on `conv4`'s features: conv-norm-ReLU blocks, the last one pooled, then linear (paper, A.1).

    Example:
      >>> learner = conv4(outputs=5, input_shape=(28, 28, 1), filters=8)
      >>> conv4_co_learner(outputs=5, filters=8)(learner.example_features).shape
      TensorShape([2, 5])

    Args:
      outputs: as the head's.
      filters: channels of every block.
      normalisation: mode of `Normalisation`.
      blocks: 0 to 4 in the paper's Table 8; 2 is its default (82,117 parameters at 84x84, 5-way).
      steps: as the learner's, where the co-learner is adapted too (CL).
      initialisation: as the learner's.
      groups: likewise.
    """
    return conv4_head(outputs, filters, normalisation, blocks, "co_learner", steps, initialisation, groups)


def check_image_shape(learner: str, input_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless four 2x2 pools leave something of images of this shape."""
    input_shape = as_input_shape(input_shape)
    if len(input_shape) != 3 or min(input_shape[:2]) < 16:
        raise ValueError(
            f"input_shape of {learner} must be (height, width, channels) of at least 16x16, because of its four 2x2 "
            f"pools, received {input_shape}."
        )


def conv_blocks(
    owner: str, count: int, filters: int, normalisation: Mapping[str, Any], initialisation: str
) -> list[keras.Layer]:
    """The layers of `count` unpooled blocks, of a head or a co-learner.

    Raises:
      ValueError: if `count` is negative.
    """
    if count < 0:
        raise ValueError(f"the number of blocks of a {owner} must be 0 or more, received {count}.")
    return [layer for _ in range(count) for layer in conv_block(filters, normalisation, initialisation)]


def conv_block(filters: int, normalisation: Mapping[str, Any], initialisation: str, pool: int = 1) -> list[keras.Layer]:
    """The layers of one [3x3 convolution, normalisation, ReLU, max-pool].

    The convolution's bias is idle (`Convolution`) where a normalisation has a shift in its place.

    Args:
      filters: channels.
      normalisation: arguments of `Normalisation`.
      initialisation: what the kernel begins with.
      pool: edge of the windows.
    """
    kernel, idle = kernel_initializer(initialisation), mode_named(normalisation["mode"]).standardises
    return [
        Convolution(filters, 3, padding="same", idle_bias=idle, kernel_initializer=kernel),
        Normalisation(relu=True, pool=pool, **normalisation),
    ]


@dataclass(frozen=True)
class ConvolutionalOptions:
    """Options of convolutional learners."""

    filters: int = option(64, "channels of each block (`resnet12`: of the first block)", least=1)
    normalisation: str = option(
        "batch_transductive", "source of the statistics for normalisation", choices=tuple(MODES)
    )
    groups: int = option(8, "groups of channels, with the normalisation 'group'; a divisor of filters", least=1)
    initialisation: str = option("fan_in_uniform", "initialisation of kernels and biases", choices=INITIALISATIONS)


@dataclass(frozen=True)
class Conv4Options(ConvolutionalOptions):
    """Options of `conv4`."""

    extra_blocks: int = option(0, "blocks without a pool after block 4 (More-MAML has 3)", least=0)
    head_blocks: int = option(0, "blocks of the head before its pool (the paper's Table 7 has 2)", least=0)


def convolutional_faults(settings: Settings) -> list[str]:
    """Why a convolutional learner cannot be part of a configuration."""
    faults = []
    size = settings.get("dataset.image_size")
    if size is not None and min(size) < 16:
        faults.append(f"dataset.image_size must be at least 16x16 for four pools, received {tuple(size)}.")
    return [*faults, *normalisation_faults(settings, (settings["learner.filters"],))]


def _co_learner(options: Conv4Options, given: Given, blocks: int, adapted: bool) -> keras.Layer:
    return conv4_co_learner(blocks=blocks, **co_learner_arguments(options, given, adapted))


def co_learner_arguments(options: ConvolutionalOptions, given: Given, adapted: bool) -> dict[str, Any]:
    """Arguments of a convolutional co-learner, but for its blocks.

    One that is not adapted never sees a support set: where the learner's normalisation keeps something of that, it
    takes the statistics of its queries.
    """
    as_learner = adapted or not MODES[options.normalisation].threads_state
    return {
        "outputs": given.problem.outputs,
        "filters": options.filters,
        "normalisation": options.normalisation if as_learner else "batch_transductive",
        "steps": normalised_steps(options, given) if as_learner else 1,
        "initialisation": options.initialisation,
        "groups": options.groups,
    }


@register(
    "learner",
    "conv4",
    Conv4Options,
    reads=("images",),
    co_learner=_co_learner,
    blocks=True,
    normalised=True,
    faults=convolutional_faults,
    smoke={"filters": 8},
)
def _conv4(options: Conv4Options, given: Given) -> Learner:
    """Four convolution blocks and a linear head (paper, 4.2); images of at least 16x16."""
    return conv4(given.outputs, given.input_shape, steps=normalised_steps(options, given), **vars(options))


variant("more_maml", only="images")(setting("Three more blocks (the paper's More-MAML).", learner__extra_blocks=3))
variant("head_blocks_2", only="images")(
    setting("As many blocks in the head as in the co-learner (paper, table 7).", learner__head_blocks=2)
)
for _name in INITIALISATIONS:
    variant(_name)(setting(f"Initial weights {_name!r}.", learner__initialisation=_name))
