"""What would help: which support label looks wrong, which class needs another example, which query to label next.

Each support example is left out once, and a model that adapts to others says what it takes it for. One of each class
is left out at a time: a class that alone lacks an example is found less probable for that, and its right labels look
wrong. That needs nothing of a server but what it does anyway, for as many tasks as the largest class has examples. An
example whose class has no other cannot be judged so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_labels
from export.client.answers import Answer
from export.client.errors import ClientError
from export.client.interface import Interface
from export.client.packing import Task


class Adviser(Protocol):
    """Whoever adapts and predicts: a `FewShotClient`, for one."""

    def interface(self) -> Interface:
        """What the model takes and gives."""

    def adapt_and_predict_tasks(self, tasks: Sequence[Task]) -> list[Answer]:
        """One answer a task."""


@dataclass(frozen=True, eq=False)
class Advice:
    """What leaving out each support example tells.

    Example:
      >>> advice = Advice(("cat", "cat", "dog", "dog"), np.array([0.9, 0.2, 0.6, 0.8]), ("cat", "dog", "dog", "dog"))
      >>> advice.suspects  # the second cat is taken for a dog
      (1,)
      >>> advice.accuracy, advice.weakest_class
      (0.75, 'cat')

    Attributes:
      labels: of the support examples.
      own: the probability of each example's own label when it was left out, in [0, 1]; NaN where its class has no other
        example.
      taken_for: the most probable class of each then; None likewise.
    """

    labels: tuple[str, ...]
    own: np.ndarray
    taken_for: tuple[str | None, ...]

    @property
    def judged(self) -> tuple[int, ...]:
        """The examples that could be judged."""
        return tuple(np.flatnonzero(~np.isnan(self.own)).tolist())

    @property
    def accuracy(self) -> float | None:
        """The share of judged examples that are taken for what their label says; None if none could be judged."""
        if not self.judged:
            return None
        return float(np.mean([self.taken_for[position] == self.labels[position] for position in self.judged]))

    @property
    def suspects(self) -> tuple[int, ...]:
        """The examples that are taken for another class, the least probable label first: look at these labels."""
        wrong = [position for position in self.judged if self.taken_for[position] != self.labels[position]]
        return tuple(sorted(wrong, key=lambda position: self.own[position]))

    @property
    def order(self) -> tuple[int, ...]:
        """All examples as they are worth a look: the suspects, the other judged ones likewise, then the rest."""
        ranks = np.argsort(np.nan_to_num(self.own, nan=2), kind="stable").tolist()
        first = self.suspects
        return (*first, *(position for position in ranks if position not in first))

    @property
    def weakest_class(self) -> str | None:
        """The class that another example would help most: one with a single example, else the least recognised one."""
        counts = Counter(self.labels)
        if alone := sorted(name for name, count in counts.items() if count == 1):
            return alone[0]
        means = {
            name: np.mean([self.own[place] for place in self.judged if self.labels[place] == name]) for name in counts
        }
        return min(sorted(means), key=means.__getitem__, default=None)


def leave_one_out(client: Adviser, support_inputs: Any, support_targets: Any, graph: Any = None) -> Advice:
    """Judges support examples by models that adapted to all the others.

    Args:
      client: of a classification.
      support_inputs: as of `FewShotClient.adapt_and_predict`.
      support_targets: class names, one an example.
      graph: likewise.

    Raises:
      ClientError: for a regression, or fewer than three examples or two classes.
    """
    if not client.interface().classification:
        raise ClientError("a regression has no classes to be taken for: judge support examples of a classification.")
    try:
        labels = tuple(map(str, class_labels(support_targets)))
    except ClassNameError as error:
        raise ClientError(str(error)) from error
    counts = Counter(labels)
    if len(labels) < 3 or len(counts) < 2:
        raise ClientError(
            f"leaving one out needs at least 3 support examples and 2 classes, received {len(labels)} examples and "
            f"{len(counts)} classes: add examples."
        )
    rounds = _rounds(labels)
    tasks = [_without(left_out, support_inputs, labels, graph) for left_out in rounds]
    own = np.full(len(labels), np.nan)
    taken_for: list[str | None] = [None] * len(labels)
    for left_out, answer in zip(rounds, client.adapt_and_predict_tasks(tasks), strict=True):
        assert answer.class_names is not None and answer.classes is not None
        for row, position in enumerate(left_out):
            own[position] = answer.shares[row, answer.class_names.index(labels[position])]
            taken_for[position] = answer.classes[row]
    return Advice(labels, own, tuple(taken_for))


def ask_next(answer: Answer) -> tuple[int, ...]:
    """The queries by how much their label would tell, the most telling first.

    That is the smallest difference between the two largest probabilities (margin sampling, Scheffer et al. 2001).

    Example:
      >>> ask_next(Answer(np.array([[0.9, 0.1], [0.5, 0.5]]), ("a", "b")))
      (1, 0)

    Raises:
      ClientError: for a regression.
    """
    if answer.class_names is None:
        raise ClientError("a regression has no probabilities to be unsure of: ask about a classification.")
    ordered = np.sort(answer.shares, axis=1)
    return tuple(np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable").tolist())


def _rounds(labels: Sequence[str]) -> list[list[int]]:
    """What is left out together: the first example of every class, then the second of every class that has one, ..."""
    counts, met = Counter(labels), Counter[str]()
    rounds: list[list[int]] = [[] for _ in range(max(counts.values()))]
    for position, label in enumerate(labels):
        if counts[label] > 1:
            rounds[met[label]].append(position)
            met[label] += 1
    return [left_out for left_out in rounds if left_out]


def _without(left_out: list[int], inputs: Any, labels: Sequence[str], graph: Any) -> Task:
    """A task that adapts to all examples but these, and asks what these are."""
    others = [other for other in range(len(labels)) if other not in left_out]
    targets = [labels[other] for other in others]
    if isinstance(inputs, np.ndarray):
        return Task(inputs[others], targets, inputs[left_out], graph)
    return Task([inputs[other] for other in others], targets, [inputs[position] for position in left_out], graph)
