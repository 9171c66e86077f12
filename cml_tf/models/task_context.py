"""Checks of the context that a user gives with a task, and of inputs that point into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.graphs import GraphContext
from cml_tf.learners.learner import Learner


def check_context(learner: Learner, context: Any) -> None:
    """Raises ValueError unless the context has the structure of the one that the learner was made with."""
    expected = learner.context
    if type(context) is type(expected) and len(tf.nest.flatten(context)) == len(tf.nest.flatten(expected)):
        return
    needed = f"a context of type {type(expected).__name__}" if tf.nest.flatten(expected) else "no context"
    remedy = ": give context=cml_tf.graphs.graph_context(graph, hops)" if isinstance(expected, GraphContext) else ""
    raise ValueError(f"this model takes {needed}, received {type(context).__name__}{remedy}.")


def check_numbers(inputs: Any, context: Any) -> None:
    """Raises ValueError if inputs are nodes of a graph, and one is not among those of the context."""
    if not isinstance(context, GraphContext):
        return
    nodes, numbers = int(context.adjacency.rows), np.asarray(inputs)
    outside = (numbers < 0) | (numbers >= nodes)
    if outside.any():
        raise ValueError(
            f"inputs must be node numbers in [0, {nodes}), as the graph of this context has, received "
            f"{numbers[outside][0]}."
        )
