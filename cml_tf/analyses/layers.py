"""An extractor layer by layer: which parameters belong to which layer, under names that figures can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import keras

from cml_tf.learners.attribute_matching import AttributeMatching
from cml_tf.learners.graph_layers import GraphConvolutions, PropagatedFeatures
from cml_tf.learners.learner import Learner
from cml_tf.learners.normalisation import Normalisation

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
        raise ValueError("the extractor has no trainable parameter, so there is no layer to look at.")
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
