"""What the requests to a model look like: how examples are called and of what kind, and the context that they bring.

Everything else in `export` asks the form, and so works for arrays and for nodes of a graph alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

Arrays = dict[str, np.ndarray]
Tensors = dict[str, tf.Tensor]
# By status: whether a task has this fault, a bool scalar.
Faults = dict[int, tf.Tensor]


class Bucket(NamedTuple):
    """Shapes that users will ask for: numbers of support and query examples of one task, all classes together."""

    support: int
    query: int


class Context(NamedTuple):
    """The context of one task as it came, its padding taken away.

    Attributes:
      content: what `RequestForm.learner_context` makes a context of; `()` for none.
      faults: what is wrong with it.
    """

    content: Any
    faults: Faults


class RequestForm(Protocol):
    """The form of the requests to one model."""

    @property
    def support(self) -> str:
        """The name of the input with the support examples."""

    @property
    def query(self) -> str:
        """The name of the input with the queries."""

    @property
    def examples(self) -> tf.TensorSpec:
        """Of both, with the axes of tasks and of examples in front."""

    @property
    def context(self) -> dict[str, tf.TensorSpec]:
        """The inputs that hold a task's context, with task axis; none for learners without context."""

    @property
    def context_sizes(self) -> dict[str, tf.TensorSpec]:
        """The inputs, int32 `[tasks]`, that tell how much of the context is no padding."""

    @property
    def card(self) -> dict[str, Any]:
        """What the model card says of inputs."""

    @property
    def spoilt(self) -> Mapping[str, tuple[float, int]]:
        """By input: a value that must not be in it, and the status that a task with it gets."""

    def received_context(self, inputs: Tensors) -> Context:
        """Takes the padding of a task's context away, and looks for faults."""

    def example_faults(self, content: Any, examples: tf.Tensor) -> Faults:
        """What is wrong with support or query examples of a task, no axis of tasks.

        Args:
          content: of the task's context.
          examples: without padding.
        """

    def learner_context(self, content: Any) -> Any:
        """The context as the learner takes it. Only of content without fault: gathers would raise."""

    def reference_context(self, inputs: Mapping[str, np.ndarray]) -> Any:
        """The same from arrays of one task, made as a user of the library makes it."""

    def drawn(self, bucket: Bucket, generator: np.random.Generator) -> Arrays:
        """Context, support and query examples of one task (axis 0), such as training might have had."""
