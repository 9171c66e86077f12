"""Which co-learner belongs to which provided learner: the one place that knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from cml_tf.learners.conv4 import conv4_co_learner
from cml_tf.learners.mlp import mlp_co_learner
from cml_tf.learners.resnet12 import resnet12_co_learner

# They read maps; those of all other learners read one hidden representation.
_CONVOLUTIONAL: dict[str, Callable[..., keras.Layer]] = {"conv4": conv4_co_learner, "resnet12": resnet12_co_learner}


def co_learner_of(
    name: str, outputs: int, options: Mapping[str, Any], blocks: int = 2, adapted: bool = False
) -> keras.Layer:
    """The co-learner of a provided learner, as large as that learner asks for.

    Args:
      name: of the learner's builder: "conv4", "resnet12", "mlp", "gcn" or "sgc".
      outputs: width of its output, as the head's.
      options: those of the learner: `initialisation`, and `filters`, `normalisation` and `steps` of a convolutional
        one, `hidden` of the others.
      blocks: convolution blocks, on a convolutional learner.
      adapted: whether the inner loop adapts it too (CL). A co-learner that is not adapted never sees a support set, so
        it takes the statistics of its queries whatever the learner's normalisation.

    Example:
      >>> from cml_tf.learners.co_learners import co_learner_of
      >>> [type(layer).__name__ for layer in co_learner_of("gcn", 2, {"hidden": (16, 16)}).layers]
      ['Linear', 'Linear']
    """
    # Without a word the builders' own start holds.
    start = {"initialisation": options["initialisation"]} if "initialisation" in options else {}
    if name in _CONVOLUTIONAL:
        normalisation = options["normalisation"] if adapted else "batch_transductive"
        steps = options.get("steps", 1) if adapted else 1
        return _CONVOLUTIONAL[name](outputs, options["filters"], normalisation, blocks, steps, **start)
    hidden = options["hidden"]
    width = hidden if isinstance(hidden, int) else hidden[-1]
    return mlp_co_learner(outputs, width, options.get("activation", "relu"), **start)
