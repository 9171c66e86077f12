"""What every layer of a learner makes of examples, before and after adaptation."""

from __future__ import annotations

import keras
import tensorflow as tf

from cml_tf.adaptation.gradient_descent import AdaptedLearner
from cml_tf.analyses.layers import parameter_layers
from cml_tf.learners.graph_layers import GraphConvolutions
from cml_tf.learners.learner import Learner

FEATURES, HEAD = "features", "head"


def representations(place: AdaptedLearner, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs of the layers for query inputs of one task, by the layers' names, from input to output.

    In a `keras.Sequential` extractor there is one representation a layer with a kernel: what leaves for the next such
    layer, after the normalisation, activation and pool between them. Graph convolutions have one a layer. Of any other
    extractor there is its output, `features`. The first head's outputs come last, as `head`.

    Args:
      place: an iterate of the inner loop: the learner under a task's parameters.
      inputs: `[examples, ...]`.

    Returns:
      Tensors `[examples, ...]`.
    """
    learner = place.learner
    variables = tf.nest.flatten((tuple(learner.variables), tuple(learner.state_variables)))
    values = tf.nest.flatten((tuple(place.parameters), tuple(place.state)))
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
        if isinstance(learner.extractor, keras.Sequential):
            found, features = _of_sequential(learner, inputs)
        elif isinstance(learner.extractor, GraphConvolutions):
            outputs = learner.extractor.representations(inputs, place.context)
            found = {f"graph convolution {number}": output for number, output in enumerate(outputs, 1)}
            features = outputs[-1]
        else:
            context = {"context": place.context} if tf.nest.flatten(place.context) else {}
            features = learner.extractor(inputs, training=False, **context)
            found = {FEATURES: tf.nest.flatten(features)[0]}
        head = tf.nest.flatten(learner.head(features, training=False))[0]
    return {**found, HEAD: head}


def _of_sequential(learner: Learner, inputs: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    names = {id(layer.owner): layer.name for layer in parameter_layers(learner)}
    found: dict[str, tf.Tensor] = {}
    stage, current = "", inputs
    for layer in learner.extractor.layers:
        if any(len(variable.shape) > 1 for variable in layer.weights):
            stage = names.get(id(layer), layer.name)
        current = layer(current, training=False)
        if stage:
            found[stage] = current
    return found or {FEATURES: current}, current
