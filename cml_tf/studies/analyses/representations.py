"""What every layer of a learner makes of examples, before and after adaptation.

How alike two representations are is their linear CKA (Kornblith et al. 2019, arXiv 1905.00414); features are brought
into a plane by t-SNE (van der Maaten and Hinton 2008).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from sklearn.manifold import TSNE

from cml_tf.adaptation import AdaptedTask
from cml_tf.learners.layers.graph import GraphConvolutions
from cml_tf.learners.learner import Learner
from cml_tf.studies.analyses.gradients import parameter_layers

FEATURES, HEAD = "features", "head"


def representations(place: AdaptedTask, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
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
    assert place.parameters is not None
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


# Fewer have no neighbours to be told from others.
FEWEST = 4
_PERPLEXITY = 15.0


def plane_of(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of features `[examples, ...]`, float32 `[examples, 2]`; the same numbers for the same features and seed.

    It begins from the two principal components. The perplexity is 15, about as many neighbours as a class of an
    episode has queries, or a third of the examples where they are fewer than 46. Features that are all the same are
    one point, (0, 0).

    Args:
      features: of at least `FEWEST` examples; what follows the examples is flattened.
      seed: of scikit-learn's random numbers.

    Raises:
      ValueError: for fewer than `FEWEST` examples.
    """
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    if len(flat) < FEWEST:
        raise ValueError(f"examples must be at least {FEWEST} for a plane of features, received {len(flat)}.")
    if (flat == flat[0]).all():
        return np.zeros((len(flat), 2), np.float32)
    if flat.shape[1] < 2:
        # Two principal components are wanted; the second has no part in any distance.
        flat = np.pad(flat, ((0, 0), (0, 1)))
    perplexity = min(_PERPLEXITY, (len(flat) - 1) / 3)
    # An episode is small: the exact gradient is quicker than the approximate one, whose threads wait for each other.
    return TSNE(perplexity=perplexity, init="pca", method="exact", random_state=seed).fit_transform(flat)


def linear_cka(left: np.ndarray, right: np.ndarray) -> float:
    """Linear centred kernel alignment: `|Y'X|^2 / (|X'X| |Y'Y|)` of centred X and Y, in Frobenius norms (equation 5).

    It is 1 for representations that differ by a rotation, a reflection, one scale for all directions or a shift, and
    not for those that differ by another linear map.

    Args:
      left: `[examples, ...]`; what follows the examples is flattened.
      right: of the same examples, of any width.

    Returns:
      A number in [0, 1]; NaN where all examples have one representation, which has no direction to compare.

    Raises:
      ValueError: for fewer than two examples, or different numbers of them.
    """
    if len(left) != len(right) or len(left) < 2:
        raise ValueError(
            f"both representations must be of the same examples, at least two, received {len(left)} and {len(right)}."
        )
    centred = [_centred(array) for array in (left, right)]
    if any(_is_constant(array, original) for array, original in zip(centred, (left, right), strict=True)):
        return float("nan")
    if max(array.shape[1] for array in centred) > len(left):
        # The same number from Gram matrices of the examples, which are smaller.
        one, other = (array @ array.T for array in centred)
        return float(np.sum(one * other) / (np.linalg.norm(one) * np.linalg.norm(other)))
    one, other = centred
    cross, of_one, of_other = other.T @ one, one.T @ one, other.T @ other
    return float(np.sum(cross**2) / (np.linalg.norm(of_one) * np.linalg.norm(of_other)))


def _centred(array: np.ndarray) -> np.ndarray:
    flat = np.asarray(array, np.float64).reshape(len(array), -1)
    return flat - flat.mean(0)


def _is_constant(centred: np.ndarray, original: np.ndarray) -> bool:
    # What rounding leaves when a mean is taken away is no direction either.
    return bool(np.abs(centred).max(initial=0.0) <= 1e-12 * np.abs(original).max(initial=0.0))
