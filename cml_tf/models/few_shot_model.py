"""The model of a notebook: adapt to a few labelled examples, predict, save, load. NumPy in and out.

Adaptation and prediction of one task are compiled functions that every task of a model shares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.rule import AdaptedTask, Initial
from cml_tf.boundary.arrays import array_of, arrays_like, described, told_in_one_line
from cml_tf.boundary.labels import class_labels, numbered
from cml_tf.datasets import FewShotDataset
from cml_tf.episodes import Episode, Examples, validate_episode
from cml_tf.errors import UserError
from cml_tf.graphs import GraphContext
from cml_tf.learners.learner import check_context, count_parameters
from cml_tf.models.model_files import write_model
from cml_tf.models.score import Score
from cml_tf.models.scoring import Scorer
from cml_tf.problems import Classification, Problem
from cml_tf.readouts import read_through
from cml_tf.training.answers import check_answers
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer


class FewShotModel:
    """A meta-trained model.

    Example:
      >>> model = cml_tf.load("letters")
      >>> task = model.adapt(images, names)
      >>> task.predict(questions).argmax(-1).shape
      (4,)

    Args:
      method: a readout: what adapts, how, and which head answers.
      problem: what the outputs mean.
      value_range: smallest and largest input value of training; None if unknown. Inputs that miss it by more than its
        width are refused, since they were scaled in another way (0 to 255 instead of 0 to 1).
      trained: the method that was trained, when it is at hand; `summary` then counts its co-learners too.

    Raises:
      UserError: if the outputs do not fit the problem (`cml_tf.training.answers`).
    """

    def __init__(
        self,
        method: Method,
        problem: Problem,
        value_range: tuple[float, float] | None = None,
        trained: Method | None = None,
    ) -> None:
        check_answers(method, problem)
        self.method = method
        self.problem = problem
        self.value_range = value_range
        self.trained = trained or method
        self._functions: dict[int | None, TaskFunctions] = {}
        self._scorer = Scorer(method, problem)

    @classmethod
    def of(cls, trainer: Trainer, value_range: tuple[float, float] | None = None) -> FewShotModel:
        """What was trained, ready to adapt and predict; it shares the trainer's variables.

        Args:
          trainer: in any state.
          value_range: of the inputs, if out-of-range inputs are to be refused.
        """
        method = trainer.method
        return cls(read_through(method, trainer.problem, "learner"), trainer.problem, value_range, method)

    def adapt(self, inputs: Any, targets: Any, steps: int | None = None, context: Any = ()) -> AdaptedModel:
        """Adapts to one task.

        Args:
          inputs: `[examples, ...]`, in the value range that the model was trained with (`value_range`).
          targets: classification: names (text or bytes; see `cml_tf.boundary.labels`) or whole numbers of any value,
            one an example, at most `ways` different ones, or soft labels `[examples, ways]`;
            regression: `[examples]` (one output) or `[examples, outputs]`.
          steps: inner steps; as many as at evaluation by default; 0 for no adaptation.
          context: the task's context, if the learner takes one; for nodes of a graph `cml_tf.graphs.graph_context`.

        Raises:
          ValueError: naming what was expected and received; NonFiniteAdaptation, which is one, if adaptation diverged.
        """
        check_context(self.method.learner, context)
        names, targets = self._targets(targets)
        support = Examples(tf.nest.map_structure(lambda array: array[None], self.checked(inputs)), targets[None])
        episode = validate_episode(Episode(support, support, context), self.problem)
        check_numbers(episode.support.inputs, context)
        first = Examples(*tf.nest.map_structure(lambda array: tf.constant(array[0]), tuple(episode.support)))
        return AdaptedModel(self, self._task_functions(steps), first, context, names)

    def evaluate(
        self,
        dataset: FewShotDataset,
        episodes: int = 600,
        *,
        shots: int,
        queries: int = 15,
        ways: int | None = None,
        split: str = "test",
        seed: int = 0,
        steps: int | None = None,
    ) -> Score:
        """Scores the model on the first episodes of a split.

        Args:
          dataset: with examples like those that the model takes.
          episodes: how many, at least 2.
          shots: support examples a class (regression: a task).
          queries: query examples a class.
          ways: classes a task; the model's by default. Only a model whose class rows begin alike takes fewer.
          split: whose classes; those of `test` were never trained on.
          seed: which episodes. Models that are scored with one seed are scored on the same episodes.
          steps: inner steps; as many as in `adapt` by default.

        Returns:
          Mean and 95 % interval over episodes.

        Raises:
          UserError: for a dataset or sizes that do not fit the model, and where adaptation diverges in an episode.
        """
        return self._scorer.score(dataset, ways, shots, queries, episodes=episodes, split=split, seed=seed, steps=steps)

    def checked(self, inputs: Any) -> Any:
        """Inputs as NumPy arrays of the dtypes that the learner takes.

        Raises:
          ValueError: if structure, shape or value range are not those of training, or a value is not finite.
        """
        arrays = arrays_like(self.method.learner.example_inputs, inputs, "inputs", ("examples",))
        flat = tf.nest.flatten(arrays)
        if len({len(array) for array in flat}) > 1:
            raise UserError(f"all inputs must have the same number of examples, received {described(arrays)}.")
        for array in flat:
            self._check_range(array)
        return arrays

    def _check_range(self, array: np.ndarray) -> None:
        if self.value_range is not None and array.size and array.dtype.kind == "f":
            low, high = self.value_range
            if array.min() < 2 * low - high or array.max() > 2 * high - low:
                raise UserError(
                    f"inputs must lie in [{low}, {high}] as in training, received values from {array.min()} to "
                    f"{array.max()}: scale them (8-bit images: divide by 255)."
                )

    def save(self, path: str | Path) -> None:
        """Saves what is needed to adapt and predict; co-learners stay behind.

        Raises:
          ValueError: if a part cannot be described as JSON (see `cml_tf.models.model_files`).
        """
        write_model(Path(path), self.method, self.problem, self.value_range)

    def summary(self) -> Summary:
        """The parameter counts of extractor (psi), head (theta) and co-learners (phi), as a text."""
        learner = self.method.learner
        rows = [
            ("extractor (psi)", count_parameters(learner.variables.extractor)),
            ("head (theta)", count_parameters(learner.variables.head)),
            ("adaptation rule", count_parameters(self.method.rule.meta_variables)),
        ]
        served = sum(count for _, count in rows)
        rows += [
            (f"{term.name} (phi)", count_parameters(term.variables)) for term in self.trained.terms if term.variables
        ]
        rows += [("served", served), ("trained", served + sum(count for _, count in rows[3:]))]
        return Summary("\n".join(f"{name:<24}{count:>12,}" for name, count in rows))

    def _task_functions(self, steps: int | None) -> TaskFunctions:
        if steps not in self._functions:
            self._functions[steps] = TaskFunctions(self.method.with_steps(steps), self.problem)
        return self._functions[steps]

    def _targets(self, targets: Any) -> tuple[tuple[str, ...], np.ndarray]:
        given, kinds = targets, (str, bytes)
        named = isinstance(given, (list, tuple)) and all(isinstance(label, kinds) for label in given)
        # NumPy cannot make one array of text and of bytes that are not ASCII.
        targets = np.array(given, object) if named else array_of(given, "targets")
        if not isinstance(self.problem, Classification):
            return (), targets[:, None] if targets.ndim == 1 else targets
        if targets.ndim != 1:
            return tuple(str(way) for way in range(self.problem.ways)), targets
        names, labels = numbered(class_labels(given))
        if len(names) > self.problem.ways:
            raise UserError(
                f"the model has {self.problem.ways} ways and needs at most as many classes, received {len(names)}: "
                f"{', '.join(names[:8])}. Leave some out, or train a model with more ways."
            )
        return names, labels


class NonFiniteAdaptation(UserError, ArithmeticError):
    """Adaptation to a task diverged: its parameters are not finite."""


class Summary(str):
    """Text that a notebook shows in its lines, without quotes."""

    def __repr__(self) -> str:
        return str(self)


class AdaptedModel:
    """A model adapted to one task.

    Example:
      >>> task = cml_tf.load("letters").adapt(images, names)
      >>> task.class_names
      ('alpha', 'beta', 'gamma')
      >>> task.predict(questions).shape
      (4, 3)

    Attributes:
      class_names: of the columns of `predict`, sorted; empty for regression.
    """

    def __init__(
        self,
        model: FewShotModel,
        functions: TaskFunctions,
        support: Examples,
        context: Any,
        class_names: tuple[str, ...],
    ) -> None:
        self.class_names = class_names
        self._model = model
        self._functions = functions
        self._support = support
        self._context = context
        rule = functions.method.rule
        self._initial = rule.initial(functions.method.learner)
        self._packed: tf.Tensor | None = None
        if rule.packed_spec(functions.method.learner) is not None:
            with told_in_one_line("the model cannot adapt to these examples"):
                self._packed = functions.adapt(self._initial, support, context)
            if not np.isfinite(self._packed.numpy()).all():
                raise NonFiniteAdaptation("adaptation diverged: its parameters are not finite. Use fewer inner steps.")

    def predict(self, inputs: Any) -> np.ndarray:
        """Class probabilities `[examples, classes]` in `class_names` order, or predictions `[examples, outputs]`.

        With fewer classes than the model's ways, the unused columns are dropped and the rest sums to 1.
        """
        checked = self._model.checked(inputs)
        check_numbers(checked, self._context)
        if not len(tf.nest.flatten(checked)[0]):
            # Layers are never called without examples: statistics of nothing are NaN, and kernels may refuse it.
            return np.zeros((0, len(self.class_names) or self._model.problem.outputs), np.float32)
        inputs = tf.nest.map_structure(tf.constant, checked)
        columns = tf.constant(len(self.class_names) or self._model.problem.outputs)
        functions = self._functions
        with told_in_one_line("the model cannot answer these inputs"):
            if self._packed is None:
                return functions.adapt_and_predict(self._initial, self._support, self._context, inputs, columns).numpy()
            return functions.predict(self._initial, self._packed, self._context, inputs, columns).numpy()

    def classify(self, inputs: Any) -> list[str]:
        """The name of the most probable class of every example.

        Raises:
          ValueError: for a regression model.
        """
        if not self.class_names:
            raise UserError("a regression model has no classes: call predict instead.")
        return [self.class_names[column] for column in self.predict(inputs).argmax(-1)]

    def packed(self) -> np.ndarray:
        """What adaptation learned, as one flat float32 vector.

        Raises:
          ValueError: if the rule keeps no state of a task, or adapts anew for every set of queries.
        """
        if self._packed is None:
            rule = type(self._functions.method.rule).__name__
            raise UserError(f"{rule} has no task state: call predict instead.")
        return self._packed.numpy()


class TaskFunctions:
    """Compiled once for each shape of support and query set; everything else is an argument.

    Args:
      method: a readout: its first term reads the outputs.
      problem: what the outputs mean.
    """

    def __init__(self, method: Method, problem: Problem) -> None:
        self.method = method
        self.problem = problem
        self.adapt = _compiled(self._adapt)
        self.predict = _compiled(self._predict)
        self.adapt_and_predict = _compiled(self._adapt_and_predict)

    def _adapt(self, initial: Initial, support: Examples, context: Any) -> tf.Tensor:
        return self.method.rule.adapt(self.method.learner, initial, support, context).pack()

    def _predict(self, initial: Initial, packed: tf.Tensor, context: Any, inputs: Any, columns: tf.Tensor) -> tf.Tensor:
        return self._read(self.method.rule.unpack(self.method.learner, initial, packed, context), inputs, columns)

    def _adapt_and_predict(
        self, initial: Initial, support: Examples, context: Any, inputs: Any, columns: tf.Tensor
    ) -> tf.Tensor:
        return self._read(
            self.method.rule.adapt(self.method.learner, initial, support, context, inputs), inputs, columns
        )

    def _read(self, adapted: AdaptedTask, inputs: Any, columns: tf.Tensor) -> tf.Tensor:
        outputs = self.method.terms[0].read(adapted.predict(inputs), self.method.term_values()[0])
        # Before the softmax: the classes that the task has share the probability, and nothing can underflow to 0/0.
        return self.problem.predictions(outputs[:, :columns])


def _compiled(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    # TensorFlow counts traces by code object, so that the first calls of several models would look to it like one
    # function that is traced again and again; a partial is counted by itself.
    return tf.function(functools.partial(function), autograph=False, reduce_retracing=True)


def check_numbers(inputs: Any, context: Any) -> None:
    """Raises UserError if inputs are nodes of a graph, and one is not among those of the context."""
    if not isinstance(context, GraphContext):
        return
    nodes, numbers = int(context.adjacency.rows), np.asarray(inputs)
    outside = (numbers < 0) | (numbers >= nodes)
    if outside.any():
        raise UserError(
            f"inputs must be node numbers in [0, {nodes}), the nodes of the graph in this context, received "
            f"{numbers[outside][0]}."
        )
