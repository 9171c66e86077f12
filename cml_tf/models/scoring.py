"""Scores a model on episodes of a dataset whose examples are like those that it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

from cml_tf.datasets import FewShotDataset, NodeDataset
from cml_tf.datasets.base import check_integer
from cml_tf.errors import UserError
from cml_tf.graphs import GraphContext
from cml_tf.learners import Learner
from cml_tf.learners.nodes import node_features
from cml_tf.models.score import Score
from cml_tf.models.task_sizes import TaskSizes
from cml_tf.problems import Classification, Problem
from cml_tf.training.evaluator import Evaluator
from cml_tf.training.method import Method

ANY_WAYS = 'class rows that begin alike, such as cml_tf.method_of(class_rows="prototypes"), and a range that holds it'


class Scorer:
    """Evaluators of one model, compiled once for each number of inner steps.

    Args:
      method: a readout.
      problem: what its outputs mean.
    """

    def __init__(self, method: Method, problem: Problem) -> None:
        self._method = method
        self._problem = problem
        self._evaluators: dict[int | None, Evaluator] = {}

    def score(
        self,
        dataset: FewShotDataset,
        ways: int | None,
        shots: int,
        queries: int,
        *,
        episodes: int,
        split: str,
        seed: int,
        steps: int | None,
    ) -> Score:
        """Scores on the first episodes of a split; the arguments are those of `FewShotModel.evaluate`."""
        check_integer("episodes", episodes, minimum=2)
        check_dataset(dataset, self._problem)
        check_examples(dataset, self._method.learner)
        sizes = self._sizes(ways, shots, queries)
        source = sizes.scored(as_seen(dataset, self._method.learner), split, seed)
        if steps not in self._evaluators:
            self._evaluators[steps] = Evaluator(self._method.with_steps(steps), self._problem.metric)
        evaluation = self._evaluators[steps].evaluate(source, episodes, seed)
        return Score.of(evaluation, split, sizes.told())

    def _sizes(self, ways: int | None, shots: int, queries: int) -> TaskSizes:
        if not isinstance(self._problem, Classification):
            if ways is not None:
                raise UserError(f"ways is for classifications, received {ways} for a regression: leave it out.")
            return TaskSizes(None, shots, queries)
        most = self._problem.ways
        ways = most if ways is None else check_integer("ways", ways, minimum=2)
        if ways > most or (ways != most and not self._method.rule.any_ways):
            raise UserError(f"ways must be {most} for this model, received {ways}: another number needs {ANY_WAYS}.")
        return TaskSizes(ways, shots, queries, ways_range=(2, most))


def check_dataset(dataset: Any, problem: Problem) -> None:
    """Raises UserError unless it is a dataset of the problem's kind."""
    if not isinstance(dataset, FewShotDataset):
        raise UserError(f"dataset must be the result of cml_tf.datasets.load(name), received {type(dataset).__name__}.")
    classifies = isinstance(problem, Classification)
    if (dataset.problem_kind == "classification") != classifies:
        kind = "classification" if classifies else "regression"
        remedy = "a FewShot without ways" if classifies else "a FewShot with ways"
        raise UserError(
            f"dataset must be of a {kind}, as the model is, received {dataset.name!r}, which is "
            f"{dataset.problem_kind}: fit {remedy} on it."
        )


def check_examples(dataset: FewShotDataset, learner: Learner) -> None:
    """Raises UserError unless the dataset's examples are such as the learner takes."""
    taken, received = _taken(learner), _examples(dataset)
    if taken is not None and received != taken:
        raise UserError(
            f"dataset must have the kind of examples that the model takes, {taken}, received {dataset.name!r} with "
            f"{received}."
        )


def as_seen(dataset: FewShotDataset, learner: Learner) -> FewShotDataset:
    """The dataset as the learner looks at it: a graph's features propagated as often as it asks for."""
    if not isinstance(dataset, NodeDataset):
        return dataset
    hops = getattr(learner.extractor, "hops", dataset.hops)
    return dataset if hops == dataset.hops else dataclasses.replace(dataset, hops=hops)


def _examples(dataset: FewShotDataset) -> str:
    if isinstance(dataset, NodeDataset):
        return f"nodes of {dataset.graph.features.shape[1]} features"
    return f"arrays of shape {list(dataset.input_shape)}"


def _taken(learner: Learner) -> str | None:
    """None for what no dataset can be compared with beforehand."""
    if (features := node_features(learner)) is not None:
        return f"nodes of {features} features"
    if isinstance(learner.context, GraphContext) or not hasattr(learner.example_inputs, "shape"):
        return None
    return f"arrays of shape {list(learner.example_inputs.shape[1:])}"
