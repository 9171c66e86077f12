"""Requests whose examples are arrays of numbers: images, vectors. They bring no context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.learners.learner import Learner
from export import status
from export.errors import ExportError
from export.requests.boundary import finite
from export.requests.form import Arrays, Bucket, Context, Faults, Tensors


@dataclass(frozen=True)
class ArrayForm:
    """See `RequestForm`.

    Attributes:
      shape: of one example.
      value_range: smallest and largest input value of training.
    """

    shape: tuple[int, ...]
    value_range: tuple[float, float]
    support: str = "support_inputs"
    query: str = "query_inputs"

    @classmethod
    def of(cls, learner: Learner, value_range: tuple[float, float]) -> ArrayForm:
        """The form of a learner's requests.

        Raises:
          ExportError: if it takes something else than one tensor of floats.
        """
        inputs = learner.example_inputs
        if not hasattr(inputs, "shape"):
            raise ExportError(
                f"only learners with one input tensor can be exported, received inputs of type {type(inputs).__name__}."
            )
        # bfloat16 is not of NumPy's kind of floats.
        if np.dtype(inputs.dtype.name).kind != "f" and "float" not in inputs.dtype.name:
            raise ExportError(
                f"served inputs must be float32, received a learner for {inputs.dtype.name}: build it with "
                "input_shape, on floats, and cast them in its first layer (an Embedding does)."
            )
        return cls(tuple(inputs.shape[1:]), value_range)

    @property
    def examples(self) -> tf.TensorSpec:
        """Arrays, float32 `[tasks, examples, ...]`."""
        return tf.TensorSpec([None, None, *self.shape], tf.float32)

    @property
    def context(self) -> dict[str, tf.TensorSpec]:
        """None."""
        return {}

    @property
    def context_sizes(self) -> dict[str, tf.TensorSpec]:
        """None."""
        return {}

    @property
    def card(self) -> dict[str, Any]:
        """Shape, dtype and value range."""
        return {"shape": list(self.shape), "dtype": "float32", "value_range": list(self.value_range)}

    @property
    def spoilt(self) -> Mapping[str, tuple[float, int]]:
        """NaN and infinity."""
        return {
            self.support: (np.nan, status.NON_FINITE_INPUT),
            self.query: (np.inf, status.NON_FINITE_INPUT),
        }

    def received_context(self, inputs: Tensors) -> Context:
        """Nothing, and nothing is wrong with it."""
        del inputs
        return Context((), {})

    def example_faults(self, content: Any, examples: tf.Tensor) -> Faults:
        """NaN and infinite values."""
        del content
        return {status.NON_FINITE_INPUT: ~finite(examples)}

    def learner_context(self, content: Any) -> Any:
        """`()`."""
        return content

    def reference_context(self, inputs: Mapping[str, np.ndarray]) -> Any:
        """`()`."""
        del inputs
        return ()

    def drawn(self, bucket: Bucket, generator: np.random.Generator) -> Arrays:
        """Arrays from the value range of training."""
        return {
            name: generator.uniform(*self.value_range, (1, count, *self.shape)).astype(np.float32)
            for name, count in ((self.support, bucket.support), (self.query, bucket.query))
        }
