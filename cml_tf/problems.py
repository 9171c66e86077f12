"""What is learned: classification or regression; how one task's outputs are scored against its targets.

A problem turns the outputs of a head into a loss and a metric per example. Losses are Keras' own functions, in the
functional forms: `keras.losses.Loss` objects cast to `floatx`, which would ruin float64.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from cml_tf.errors import UserError


@dataclass(frozen=True)
class Classification:
    """Choose one of `ways` classes; outputs are logits `[examples, ways]`.

    Example:
      >>> problem = cml_tf.Classification(ways=5)
      >>> problem.metric, problem.outputs
      ('accuracy', 5)
    """

    ways: int

    def __post_init__(self) -> None:
        if self.ways < 2:
            raise UserError(f"ways must be at least 2, received {self.ways}.")

    @property
    def metric(self) -> str:
        """The name under which `score` is reported."""
        return "accuracy"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score is a better one."""
        return True

    @property
    def outputs(self) -> int:
        """The width a head for this problem must have."""
        return self.ways

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Cross-entropy in nats, `[examples]`; targets are labels `[examples]` or soft labels `[examples, ways]`.

        Raises:
          UserError: for outputs or soft labels of another shape.
        """
        _check_outputs(outputs, targets, self.ways, labels=targets.dtype.is_integer)
        outputs = at_least_float32(outputs)
        if targets.dtype.is_integer:
            return keras.losses.sparse_categorical_crossentropy(targets, outputs, from_logits=True)
        return keras.losses.categorical_crossentropy(tf.cast(targets, outputs.dtype), outputs, from_logits=True)

    def as_vectors(self, targets: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Targets as `[examples, ways]`: labels one-hot, soft labels as they are."""
        return tf.one_hot(targets, self.ways, dtype=dtype) if targets.dtype.is_integer else tf.cast(targets, dtype)

    def scores(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """1.0 where the largest output is the (most likely) label, else 0.0, `[examples]`."""
        labels = targets if targets.dtype.is_integer else tf.argmax(targets, -1)
        return tf.cast(tf.equal(tf.argmax(outputs, -1), tf.cast(labels, tf.int64)), tf.float32)

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        """Class probabilities `[examples, ways]`."""
        return tf.nn.softmax(at_least_float32(outputs))


@dataclass(frozen=True)
class Regression:
    """Predict `outputs` real numbers per example; outputs are `[examples, outputs]`.

    Example:
      >>> problem = cml_tf.Regression(outputs=2)
      >>> problem.metric, problem.higher_is_better
      ('mse', False)
    """

    outputs: int = 1

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise UserError(f"outputs must be at least 1, received {self.outputs}.")

    @property
    def metric(self) -> str:
        """The name under which `score` is reported."""
        return "mse"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score is a better one."""
        return False

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Squared error per example, averaged over its outputs, `[examples]`.

        Raises:
          UserError: for outputs or targets of another shape; they are never broadcast.
        """
        _check_outputs(outputs, targets, self.outputs)
        outputs = at_least_float32(outputs)
        return keras.losses.mean_squared_error(tf.cast(targets, outputs.dtype), outputs)

    def as_vectors(self, targets: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Targets `[examples, outputs]` in a dtype."""
        return tf.cast(targets, dtype)

    def scores(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Squared error per example, `[examples]`."""
        return self.losses(outputs, targets)

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        """The outputs themselves, at least float32."""
        return at_least_float32(outputs)


Problem = Classification | Regression


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Half-precision outputs are widened before they meet a loss; float64 stays."""
    return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.float16, tf.bfloat16) else tensor


def _check_outputs(outputs: tf.Tensor, targets: tf.Tensor, width: int, labels: bool = False) -> None:
    """Compares what is known of two shapes while a function is traced, which costs nothing when it runs."""
    leading = targets.shape if labels else targets.shape[:-1]
    expected = leading.concatenate([width])
    if not (outputs.shape.is_compatible_with(expected) and (labels or targets.shape.is_compatible_with(expected))):
        # TensorFlow's own tracing keeps the type of built-in errors alone.
        raise UserError(
            f"outputs must be [examples, {width}] with as many targets, received outputs {outputs.shape} and targets "
            f"{targets.shape}."
        )


def problem_to_json(problem: Problem) -> dict[str, Any]:
    """The problem as JSON."""
    return {"kind": type(problem).__name__.lower(), **asdict(problem)}


def problem_from_json(value: dict[str, Any]) -> Problem:
    """The problem that `problem_to_json` described; UserError for anything else."""
    kinds = {"classification": Classification, "regression": Regression}
    arguments = dict(value)
    kind = arguments.pop("kind", None)
    if kind not in kinds:
        raise UserError(f"the problem must be one of {', '.join(kinds)}, received {kind!r}.")
    return kinds[kind](**arguments)
