"""How many classes and examples the tasks of a notebook's model have: in training, and when it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cml_tf.datasets import EpisodeSource, FewShotDataset
from cml_tf.datasets.base import check_integer
from cml_tf.datasets.class_source import ClassSource
from cml_tf.datasets.varying_sizes import UNIFORM, VaryingSizes, check_range
from cml_tf.errors import UserError
from cml_tf.problems import Classification, Problem, Regression


@dataclass(frozen=True)
class TaskSizes:
    """Sizes of tasks, checked.

    Attributes:
      ways: classes of a task when it is scored, and in training without a range; None for regression.
      shots: support examples a class, likewise.
      queries: query examples a class.
      ways_range: fewest and most classes of a training task; empty for `ways`.
      shots_range: fewest and most support examples a class of a training task; empty for `shots`.
    """

    ways: int | None
    shots: int
    queries: int
    ways_range: Sequence[int] = ()
    shots_range: Sequence[int] = ()

    def __post_init__(self) -> None:
        for name, minimum in (("ways", 2), ("shots", 1), ("queries", 1)):
            if (value := getattr(self, name)) is not None or name != "ways":
                self._keep(name, check_integer(name, value, minimum=minimum))
        for name, minimum in (("ways_range", 2), ("shots_range", 1)):
            if len(bounds := getattr(self, name)):
                self._keep(name, check_range(name, bounds, minimum))
        if self.vary and self.ways is None:
            raise UserError("tasks of a regression have one size: leave out ways_range and shots_range.")
        if self.ways is not None and self.ways > self.most_ways:
            raise UserError(f"ways must be at most {self.most_ways}, the most of ways_range, received {self.ways}.")

    def _keep(self, name: str, value: Any) -> None:
        # Numbers of NumPy become those of Python, which Keras and JSON ask for.
        object.__setattr__(self, name, value)

    @property
    def vary(self) -> bool:
        """Whether training tasks have different sizes."""
        return bool(len(self.ways_range) or len(self.shots_range))

    @property
    def most_ways(self) -> int:
        """The most classes that a task may have."""
        assert self.ways is not None
        return self.ways_range[1] if len(self.ways_range) else self.ways

    @property
    def problem(self) -> Problem:
        """What is learned: a regression of one number, or a classification of the most classes."""
        return Regression(1) if self.ways is None else Classification(self.most_ways)

    def training(self, dataset: FewShotDataset, seed: int) -> EpisodeSource:
        """What is trained on."""
        if not self.vary:
            return self.scored(dataset, "train", seed)
        assert self.ways is not None
        ways = tuple(self.ways_range) or (self.ways, self.ways)
        shots = tuple(self.shots_range) or (self.shots, self.shots)
        largest = dataset.episodes("train", ways=ways[1], shots=shots[1], queries=self.queries, seed=seed)
        assert isinstance(largest, ClassSource)
        return VaryingSizes(largest, ways, shots, UNIFORM)

    def scored(
        self, dataset: FewShotDataset, split: str, seed: int, ways: int | None = None, shots: int | None = None
    ) -> EpisodeSource:
        """What is validated and scored on: tasks of one size, for a model that has room for the most classes."""
        ways, shots = self._asked(ways, shots)
        source = dataset.episodes(split, ways=ways, shots=shots, queries=self.queries, seed=seed)
        return source.within(self.most_ways) if isinstance(source, ClassSource) else source

    def told(self, ways: int | None = None, shots: int | None = None) -> str:
        """The size of a scored task, in words."""
        ways, shots = self._asked(ways, shots)
        return f"{shots}-shot" if ways is None else f"{ways}-way {shots}-shot"

    def _asked(self, ways: int | None, shots: int | None) -> tuple[int | None, int]:
        """Ways and shots of a scored task; 0 is a number, which the dataset refuses."""
        return self.ways if ways is None else ways, self.shots if shots is None else shots
