"""Which methods can work on all tasks of a meta-batch in one batched operation each."""

from __future__ import annotations

import keras

from cml_tf.adaptation.gradient_descent import GradientDescent
from cml_tf.adaptation.hypergradients import FirstOrder, Reverse
from cml_tf.learners.initialisation import Linear
from cml_tf.method import Method

# Their operations have a batched form, and are so small that starting them is what takes the time. A convolution has no
# form with a filter for each task.
_DENSE = (
    keras.Sequential,
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Flatten,
    keras.layers.Activation,
    Linear,
)


def can_be_vectorised(method: Method) -> bool:
    """Whether all layers are dense and the inner loop is unrolled."""
    rule = method.rule
    if not (isinstance(rule, GradientDescent) and type(rule.hypergradient) in (Reverse, FirstOrder)):
        return False
    roots = [method.learner.extractor, method.learner.head, *(getattr(term, "layer", None) for term in method.terms)]
    # Keras offers no public way to walk the layers inside a layer that is not a Model.
    layers = [layer for root in roots if root is not None for layer in root._flatten_layers()]
    return all(type(layer) in _DENSE for layer in layers)
