"""From a configuration to an experiment: its dataset, its episodes, its trainer."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cml_tf.datasets import EpisodeSource, FewShotDataset, load_dataset
from cml_tf.experiments.configuration import check_config
from cml_tf.experiments.configured_trainer import build_trainer
from cml_tf.problems import Classification, Problem, Regression, problem_from_json, problem_to_json
from cml_tf.trainer import Validation


class Data(NamedTuple):
    """What a method must know of its data; a checkpoint holds it, so that a trained model needs no dataset to be used.

    Attributes:
      problem: what is learned.
      input_shape: of one example.
      value_range: smallest and largest value of an input.
      fingerprint: of the training episodes: SHA-256, hexadecimal.
    """

    problem: Problem
    input_shape: tuple[int, ...]
    value_range: tuple[float, float]
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**self._asdict(), "problem": problem_to_json(self.problem)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Data:
        """From what `to_json` made."""
        low, high = value["value_range"]
        return cls(problem_from_json(value["problem"]), tuple(value["input_shape"]), (low, high), value["fingerprint"])


class Experiment:
    """Everything that a configuration describes, built. The dataset is loaded when episodes are first asked for.

    Args:
      config: a checked configuration.
      data: what the method knows of its data; found out from the dataset when None.

    Attributes:
      trainer: untrained, or restored by whoever asks.
    """

    def __init__(self, config: ConfigDict, data: Data | None = None) -> None:
        self.config = config
        self.data = data or self._describe()
        self.trainer = build_trainer(config, self.data.problem, self.data.input_shape)

    @property
    def problem(self) -> Problem:
        """What is learned."""
        return self.data.problem

    @cached_property
    def dataset(self) -> FewShotDataset:
        """Where episodes come from; DatasetError if it cannot be had."""
        settings = self.config.dataset
        options = {}
        if settings.name == "image_folder":
            options = {"image_size": tuple(settings.image_size), "channels": settings.channels}
        return load_dataset(settings.name, settings.root, **options)

    def episodes(self, split: str) -> EpisodeSource:
        """The split's episodes as this experiment samples them: training seed and queries, or evaluation's."""
        settings = self.config.dataset
        training = split == "train"
        return self.dataset.episodes(
            split,
            ways=None if self.dataset.problem_kind == "regression" else settings.ways,
            shots=settings.shots,
            queries=settings.queries if training else self.config.eval.queries or settings.queries,
            seed=self.config.seed if training else self.config.eval.seed,
        )

    def validation(self) -> Validation:
        """What training validates on."""
        return Validation(
            self.episodes("validation"), self.config.train.validation_episodes, self.config.adaptation.eval_steps
        )

    def _describe(self) -> Data:
        # All splits are tried now: a test set that is too small should not come to light after the training.
        sources = {split: self.episodes(split) for split in self.dataset.splits}
        regression = self.dataset.problem_kind == "regression"
        problem: Problem = Regression(1) if regression else Classification(self.config.dataset.ways)
        shape, value_range = tuple(self.dataset.input_shape), self.dataset.value_range
        return Data(problem, shape, value_range, sources["train"].fingerprint)


def build_experiment(config: ConfigDict, data: Data | None = None) -> Experiment:
    """Builds everything. The same configuration gives the same initial weights, in a fresh process.

    Args:
      config: of the experiment.
      data: from a checkpoint, so that the dataset need not be there.

    Raises:
      ConfigurationError: for values that cannot be run.
      DatasetError: if the dataset is missing, malformed, or does not hold what the episodes need.
    """
    check_config(config)
    return Experiment(config, data)
