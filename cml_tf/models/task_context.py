"""Checks of the context that a user gives with a task, and of inputs that point into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.graphs import GraphContext
from cml_tf.learners.learner import Learner


def check_context(learner: Learner, context: Any) -> None:
    """Raises ValueError unless there is a context just where the learner takes one, and a graph where it takes that."""
    expected, graph = learner.context, isinstance(learner.context, GraphContext)
    needed, given = (bool(tf.nest.flatten(structure)) for structure in (expected, context))
    if isinstance(context, GraphContext) if graph else needed == given:
        return
    told = f"a context of type {type(expected).__name__}" if needed else "no context"
    remedy = ": give context=cml_tf.graphs.graph_context(graph, hops)" if graph else ""
    raise ValueError(f"this model takes {told}, received {type(context).__name__}{remedy}.")


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
