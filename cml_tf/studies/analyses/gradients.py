"""Gradients of one task's losses with respect to the extractor, and how they compare a layer.

Two gradients are told apart. The *outer* gradient of a loss is that with respect to the initial extractor psi, through
the inner loop, as the outer loop takes it. The *gradient after adaptation* is that with respect to the adapted
extractor psi', at which the inner loop has arrived.

Layers have names that figures can show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation import AdaptedTask
from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.episodes import Episode, Examples
from cml_tf.learners.layers.derivative_order import outer_gradient
from cml_tf.learners.layers.graph import AttributeMatching, GraphConvolutions, PropagatedFeatures
from cml_tf.learners.learner import Learner, Parameters
from cml_tf.learners.normalisation.layer import Normalisation
from cml_tf.problems import Problem
from cml_tf.training.method import Method

Gradient = Sequence[tf.Tensor]


def outer_gradients(method: Method, weightings: Sequence[Sequence[float]], task: Episode) -> tuple[Gradient, ...]:
    """Gradients of several outer losses of one task with respect to the initial extractor psi.

    Each goes through the method's inner loop: with its number of steps, its update rule and that rule's current rates,
    and of the order of its hypergradient (`Method.of_first_order` makes inner gradients constants).

    Args:
      method: gives the terms and the inner loop.
      weightings: for each loss, the weight of each of the method's terms.
      task: without task axis.

    Returns:
      For each weighting a gradient: one tensor for each of `Parameters.extractor`. A parameter that the loss does not
      depend on has gradient zero.
    """
    with outer_gradient():
        initial = method.initial()
        extractor = list(initial.parameters.extractor)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(extractor)
            losses = [result.loss for result in method.losses(initial, method.term_values(), task)]
            sums = [
                tf.add_n([weight * loss for weight, loss in zip(weights, losses, strict=True) if weight])
                for weights in weightings
            ]
        return tuple(
            tuple(dense_gradients(tape, loss, extractor, unconnected_gradients=tf.UnconnectedGradients.ZERO))
            for loss in sums
        )


def query_gradient(learner: Learner, problem: Problem, place: AdaptedTask, query: Examples) -> Gradient:
    """Gradient of the query loss `L(theta'(psi'(x)), y)` of the first head with respect to psi', at psi'.

    The learner's state (statistics of a support set, where a normalisation keeps them) is a constant in it.

    Args:
      learner: of the adapted task.
      problem: gives the loss.
      place: where the gradient is taken: an iterate of the inner loop.
      query: examples of one task.
    """
    assert place.parameters is not None  # gradients are those of parameters
    head, state = place.parameters.head, tf.nest.map_structure(tf.stop_gradient, place.state)
    extractor = [tf.stop_gradient(parameter) for parameter in place.parameters.extractor]
    with outer_gradient(), tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(extractor)
        parameters = Parameters(tuple(extractor), head)
        forward = learner.call(parameters, state, query.inputs, place.context, training=False)
        loss = tf.reduce_mean(problem.losses(tf.nest.flatten(forward.outputs)[0], query.targets))
    return tuple(dense_gradients(tape, loss, extractor, unconnected_gradients=tf.UnconnectedGradients.ZERO))


def inner_products(left: Gradient, right: Gradient, layers: Sequence[LayerParameters]) -> tf.Tensor:
    """Inner products of two gradients a layer, and of all layers together in the last row, float64 `[layers + 1]`."""
    products = [
        tf.reduce_sum(tf.cast(one, tf.float64) * tf.cast(other, tf.float64))
        for one, other in zip(left, right, strict=True)
    ]
    of_layers = [tf.add_n([products[position] for position in layer.positions]) for layer in layers]
    return tf.stack([*of_layers, tf.add_n(products)])


def comparison(left: Gradient, right: Gradient, layers: Sequence[LayerParameters]) -> tf.Tensor:
    """`<l, r>`, `<l, l>` and `<r, r>` a layer and for all, float64 `[layers + 1, 3]`: what `cosine` takes."""
    pairs = (left, right), (left, left), (right, right)
    return tf.stack([inner_products(one, other, layers) for one, other in pairs], -1)


def cosine(products: np.ndarray) -> np.ndarray:
    """Cosine similarity `<l, r> / (|l| |r|)` in [-1, 1] of `comparison`'s numbers; NaN where a gradient is zero.

    Args:
      products: `[..., 3]`.

    Returns:
      `[...]`.
    """
    inner, left, right = np.moveaxis(np.asarray(products, np.float64), -1, 0)
    lengths = np.sqrt(left) * np.sqrt(right)
    defined = lengths > 0
    return np.where(defined, np.clip(inner / np.where(defined, lengths, 1.0), -1.0, 1.0), np.nan)


# The first that fits gives the name.
_KINDS = (
    (keras.layers.Conv2D, "convolution"),
    (keras.layers.Dense, "dense"),
    (AttributeMatching, "attribute matching"),
    ((Normalisation, keras.layers.BatchNormalization, keras.layers.RMSNormalization), "normalisation"),
)


class LayerParameters(NamedTuple):
    """The parameters of one layer.

    Attributes:
      name: its kind and its number among the layers of that kind, from 1: `convolution 4`.
      owner: the Keras layer.
      positions: of its parameters in `Parameters.extractor`.
      has_kernel: whether one of them is a matrix or more; normalisations have none.
    """

    name: str
    owner: keras.Layer
    positions: tuple[int, ...]
    has_kernel: bool


def parameter_layers(learner: Learner) -> tuple[LayerParameters, ...]:
    """The extractor's trainable parameters by layer, from input to output; each belongs to exactly one layer.

    Raises:
      ValueError: if the extractor has no trainable parameter.
    """
    position = {id(variable): place for place, variable in enumerate(learner.variables.extractor)}
    if not position:
        raise ValueError(
            "the extractor has no trainable parameter, so no layer can be analysed: choose other analyses."
        )
    counts: Counter[str] = Counter()
    layers = []
    for kind, owner, variables in _owned(learner.extractor):
        places = tuple(position[id(variable)] for variable in variables if id(variable) in position)
        if places:
            counts[kind] += 1
            has_kernel = any(len(variable.shape) > 1 for variable in variables)
            layers.append(LayerParameters(f"{kind} {counts[kind]}", owner, places, has_kernel))
    return tuple(sorted(layers, key=lambda layer: min(layer.positions)))


def _owned(extractor: keras.Layer) -> Iterator[tuple[str, keras.Layer, list[keras.Variable]]]:
    # Keras offers no public way to walk the layers inside a layer that is not a Model.
    for layer in extractor._flatten_layers(include_self=True, recursive=True):
        inner = {id(v) for child in list(layer._flatten_layers())[1:] for v in child.variables}
        own = [variable for variable in layer.trainable_variables if id(variable) not in inner]
        if isinstance(layer, GraphConvolutions | PropagatedFeatures):
            kind = "graph convolution" if isinstance(layer, GraphConvolutions) else "linear"
            for kernel, bias in zip(layer.kernels, layer.biases, strict=True):
                yield kind, layer, [kernel, bias]
        elif own:
            yield next((name for kinds, name in _KINDS if isinstance(layer, kinds)), layer.name), layer, own
