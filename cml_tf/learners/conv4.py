"""The four-block convolutional learner of few-shot image classification, and its co-learner (paper, 4.2 and A.1)."""

from __future__ import annotations

import keras

from cml_tf.learners.layers.convolution import Convolution
from cml_tf.learners.layers.initialisation import kernel_initializer, linear
from cml_tf.learners.learner import Learner, as_input_shape
from cml_tf.learners.normalisation.layer import Normalisation


def conv4(
    outputs: int,
    input_shape: tuple[int, ...],
    filters: int = 64,
    normalisation: str = "batch_transductive",
    extra_blocks: int = 0,
    head_blocks: int = 0,
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
) -> Learner:
    """Four [3x3 convolution, normalisation, ReLU, 2x2 max-pool] blocks and a linear head.

    The features are block 4's map *before* its pool, since that is what the co-learner reads; the pool, which has no
    weights, opens the head. At 84x84x3, 5-way and 64 filters it has 121,093 parameters.

    Example:
      >>> learner = conv4(outputs=5, input_shape=(84, 84, 3))
      >>> count_parameters(learner.variables)
      121093

    Args:
      outputs: width of the head (the ways of a classification).
      input_shape: `(height, width, channels)`, at least 16x16; odd sizes lose their last row or column in each pool.
      filters: channels of every block.
      normalisation: mode of `Normalisation`.
      extra_blocks: unpooled blocks after block 4 (More-MAML has 3: 232,261 parameters).
      head_blocks: blocks of the head before its pool (the paper's Table 7, equal capacity, has 2).
      steps: inner steps with a scale and shift of their own, in the mode `per_step`.
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).

    Raises:
      ValueError: if the image is too small or not `(height, width, channels)`, or the initialisation is unknown.
    """
    check_image_shape("conv4", input_shape)
    pools = [2, 2, 2, *[1] * (1 + extra_blocks)]
    layers = [layer for pool in pools for layer in conv_block(filters, normalisation, pool, steps, initialisation)]
    extractor = keras.Sequential(layers, name="extractor")
    head = conv4_head(outputs, filters, normalisation, head_blocks, "head", steps, initialisation)
    return Learner(extractor, head, input_shape=tuple(input_shape))


def conv4_head(
    outputs: int,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    blocks: int = 0,
    name: str = "head",
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
) -> keras.Layer:
    """A head on `conv4`'s features: conv-norm-ReLU blocks (usually none), a pool, then a linear layer.

    Example:
      >>> learner = conv4(outputs=5, input_shape=(28, 28, 1), filters=8)
      >>> conv4_head(outputs=3, filters=8)(learner.example_features).shape
      TensorShape([2, 3])

    Raises:
      ValueError: if `blocks` is negative.
    """
    layers = conv_blocks(name, blocks, filters, normalisation, steps, initialisation)
    read_out = [
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        linear(outputs, initialisation, last=name == "head"),
    ]
    return keras.Sequential([*layers, *read_out], name=name)


def conv4_co_learner(
    outputs: int,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    blocks: int = 2,
    steps: int = 1,
    initialisation: str = "fan_in_uniform",
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
    """
    return conv4_head(outputs, filters, normalisation, blocks, "co_learner", steps, initialisation)


def check_image_shape(learner: str, input_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless four 2x2 pools leave something of images of this shape."""
    input_shape = as_input_shape(input_shape)
    if len(input_shape) != 3 or min(input_shape[:2]) < 16:
        raise ValueError(
            f"{learner} needs images of shape (height, width, channels) of at least 16x16, received "
            f"{input_shape}: four 2x2 pools leave nothing of a smaller one."
        )


def conv_blocks(
    owner: str, count: int, filters: int, normalisation: str, steps: int, initialisation: str
) -> list[keras.Layer]:
    """The layers of `count` unpooled blocks, of a head or a co-learner.

    Raises:
      ValueError: if `count` is negative.
    """
    if count < 0:
        raise ValueError(f"a {owner} has 0 blocks or more, received {count}.")
    return [layer for _ in range(count) for layer in conv_block(filters, normalisation, 1, steps, initialisation)]


def conv_block(
    filters: int, normalisation: str, pool: int = 1, steps: int = 1, initialisation: str = "fan_in_uniform"
) -> list[keras.Layer]:
    """The layers of one [3x3 convolution, normalisation, ReLU, max-pool]; its bias is idle (`Convolution`)."""
    return [
        Convolution(filters, 3, padding="same", idle_bias=True, kernel_initializer=kernel_initializer(initialisation)),
        Normalisation(normalisation, relu=True, pool=pool, steps=steps),
    ]
