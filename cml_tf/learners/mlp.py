"""Multilayer perceptrons: the learner of few-shot regression, and its co-learner (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from cml_tf.learners.example import as_input_shape
from cml_tf.learners.layers.initialisation import INITIALISATIONS, linear
from cml_tf.learners.learner import Learner
from cml_tf.learners.normalisation.layer import Normalisation, mode_named
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.learners.normalisation.options import normalisation_faults, normalised_steps
from cml_tf.registry import Given, Settings, option, register


def mlp(
    outputs: int | None,
    input_shape: tuple[int, ...],
    hidden: Sequence[int] = (40, 40),
    activation: str = "relu",
    initialisation: str = "glorot_uniform",
    normalisation: str = "none",
    steps: int = 1,
    groups: int = 8,
) -> Learner:
    """Hidden layers as the extractor and a linear head; 1-40-40-1 with ReLU is the paper's regressor.

    Example:
      >>> learner = mlp(outputs=1, input_shape=(1,))
      >>> count_parameters(learner.variables)
      1761

    Args:
      outputs: width of the head; None for a learner without one, for rules that bring their own.
      input_shape: shape of one input; it is flattened first.
      hidden: widths of the hidden layers, at least one.
      activation: any Keras activation name.
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).
      normalisation: mode of `Normalisation`, which stands before each activation; not `tasknorm`, since there are no
        pixels.
      steps: inner steps with a scale and shift of their own, in the mode `per_step`.
      groups: of channels, in the mode `group`; a divisor of all widths.

    Raises:
      ValueError: without a hidden layer, for an input shape that is none, or for an unknown name.
    """
    if not hidden:
        raise ValueError("hidden must contain at least one width, received none.")
    shape = as_input_shape(input_shape)
    flatten = [keras.layers.Flatten()] if len(shape) != 1 else []
    if mode_named(normalisation).standardises:
        hidden_layers = [
            layer
            for width in hidden
            for layer in (
                linear(width, initialisation),
                Normalisation(normalisation, steps=steps, groups=groups),
                keras.layers.Activation(activation),
            )
        ]
    else:
        hidden_layers = [linear(width, initialisation, activation) for width in hidden]
    last = keras.layers.Identity() if outputs is None else linear(outputs, initialisation, last=True)
    head = keras.Sequential([last], name="head")
    return Learner(keras.Sequential([*flatten, *hidden_layers], name="extractor"), head, input_shape=shape)


def mlp_co_learner(
    outputs: int, hidden: int = 40, activation: str = "relu", initialisation: str = "glorot_uniform"
) -> keras.Layer:
    """The co-learner on the last hidden representation: one hidden layer, then linear.

    Example:
      >>> learner = mlp(outputs=1, input_shape=(1,))
      >>> mlp_co_learner(outputs=1)(learner.example_features).shape
      TensorShape([2, 1])
    """
    layers = [linear(hidden, initialisation, activation), linear(outputs, initialisation)]
    return keras.Sequential(layers, name="co_learner")


@dataclass(frozen=True)
class MlpOptions:
    """Options of `mlp`."""

    hidden: tuple[int, ...] = option((40, 40), "widths of the hidden layers", least=1)
    activation: str = option("relu", "activation of the hidden layers, by its name in Keras")
    initialisation: str = option("glorot_uniform", "initialisation of kernels and biases", choices=INITIALISATIONS)
    normalisation: str = option(
        "none", "source of the statistics for normalisation, before each activation", choices=tuple(MODES)
    )
    groups: int = option(8, "groups of channels, with the normalisation 'group'; a divisor of all widths", least=1)


def _co_learner(options: MlpOptions, given: Given, blocks: int, adapted: bool) -> keras.Layer:
    return mlp_co_learner(given.problem.outputs, options.hidden[-1], options.activation, options.initialisation)


def _faults(settings: Settings) -> list[str]:
    name, faults = settings["learner.activation"], []
    if not callable(getattr(keras.activations, name, None)):
        faults.append(f"learner.activation must be the name of a Keras activation, received {name!r}.")
    return [*faults, *normalisation_faults(settings, settings["learner.hidden"], pixels=False)]


@register("learner", "mlp", MlpOptions, reads=("numbers", "images"), co_learner=_co_learner, faults=_faults)
def _mlp(options: MlpOptions, given: Given) -> Learner:
    """Hidden layers and a linear head (paper, 4.1); numbers, or images flattened."""
    steps = normalised_steps(options, given)
    return mlp(given.outputs, given.input_shape, steps=steps, **vars(options))
