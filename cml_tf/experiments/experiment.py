"""From a configuration to an experiment: its dataset, its episodes, its trainer."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cml_tf import datasets
from cml_tf.adaptation import AdaptationRule
from cml_tf.datasets import EpisodeSource, FewShotDataset, NodeDataset
from cml_tf.datasets.class_source import ClassSource
from cml_tf.datasets.varying_sizes import FIXED, VaryingSizes
from cml_tf.errors import UserError
from cml_tf.experiments.assembly import build_trainer, feature_hops, takes_any_ways
from cml_tf.experiments.configuration import check_config
from cml_tf.experiments.settings import EXAMPLES, sizes_of
from cml_tf.problems import Classification, Problem, Regression, problem_from_json, problem_to_json
from cml_tf.training.replicas import Replicas
from cml_tf.training.trainer import Validation


class Data(NamedTuple):
    """What a method must know of its data; a checkpoint holds it, so that a trained model needs no dataset to be used.

    Attributes:
      problem: what is learned.
      input_shape: of one example.
      value_range: smallest and largest value of an input.
      fingerprint: of the training episodes: SHA-256, hexadecimal.
      node_features: how many features a node of the dataset's graph has; 0 where examples are no nodes.
      classes: how many training classes the dataset has; 0 for a regression, and in checkpoints of before.
    """

    problem: Problem
    input_shape: tuple[int, ...]
    value_range: tuple[float, float]
    fingerprint: str
    node_features: int = 0
    classes: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**self._asdict(), "problem": problem_to_json(self.problem)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Data:
        """From what `to_json` made."""
        low, high = value["value_range"]
        problem, shape = problem_from_json(value["problem"]), tuple(value["input_shape"])
        # Older checkpoints do not have the last two.
        later = value.get("node_features", 0), value.get("classes", 0)
        return cls(problem, shape, (low, high), value["fingerprint"], *later)


class Experiment:
    """Everything that a configuration describes, built. The dataset is loaded when episodes are first asked for.

    Args:
      config: a checked configuration.
      data: what the method knows of its data; found out from the dataset when None.
      replicas: that training shares its tasks among; one by default.

    Attributes:
      trainer: untrained, or restored by whoever asks.
    """

    def __init__(self, config: ConfigDict, data: Data | None = None, replicas: Replicas | None = None) -> None:
        self.config = config
        self.data = data or self._describe()
        known = self.data
        shapes = known.input_shape, known.node_features, known.classes
        self.trainer = build_trainer(config, known.problem, *shapes, restored=data is not None, replicas=replicas)

    @property
    def problem(self) -> Problem:
        """What is learned."""
        return self.data.problem

    @cached_property
    def dataset(self) -> FewShotDataset:
        """Where episodes come from; DatasetError if it cannot be had."""
        settings = self.config.dataset
        if EXAMPLES[settings.name] == "numbers":
            own = {key: settings[key] for key in ("tasks", "noisy_tasks", "noise_variance")}
            return datasets.load(settings.name, settings.root, **own)
        if EXAMPLES[settings.name] == "images":
            folder = settings.name == "image_folder"
            options = {"image_size": tuple(settings.image_size), "channels": settings.channels} if folder else {}
            images = datasets.load(settings.name, settings.root, **options)
            return dataclasses.replace(images, train_classes=settings.train_classes)  # type: ignore[call-arg]
        # Without any, each graph has its own numbers of classes.
        own = {"classes": tuple(settings.classes)} if settings.classes else {}
        dataset = datasets.load(settings.name, settings.root, class_seed=settings.class_seed, **own)
        assert isinstance(dataset, NodeDataset)
        hops = feature_hops(self.config)
        return dataclasses.replace(dataset, hops=hops, normalise_features=settings.normalise_features)

    def episodes(self, split: str, ways: int | None = None, shots: int | None = None) -> EpisodeSource:
        """The split's episodes as this experiment samples them: training seed and queries, or evaluation's.

        Args:
          split: of the dataset.
          ways: instead of the configuration's, and of the sizes that training tasks have; like the following.
          shots: likewise.

        Raises:
          UserError: for ways that the model cannot take.
        """
        settings, sampled = self.config.dataset, self.sampled(split)
        if self.dataset.problem_kind == "regression":
            return self.dataset.episodes(split, ways=ways, shots=shots or settings.shots, **sampled)
        if split == "train" and settings.sampling != FIXED and ways is shots is None:
            of_ways, of_shots = sizes_of(settings)
            largest = self.dataset.episodes(split, ways=of_ways[1], shots=of_shots[1], **sampled)
            assert isinstance(largest, ClassSource)
            return VaryingSizes(largest, of_ways, of_shots, settings.sampling)
        source = self.dataset.episodes(split, ways=ways or settings.ways, shots=shots or settings.shots, **sampled)
        return self.for_model(source)

    def sampled(self, split: str) -> dict[str, int]:
        """Queries and seed of the split's episodes: of training, or of evaluation."""
        if split == "train":
            return {"queries": self.config.dataset.queries, "seed": self.config.seed}
        return {"queries": self.config.eval.queries or self.config.dataset.queries, "seed": self.config.eval.seed}

    def for_model(self, source: EpisodeSource) -> EpisodeSource:
        """Episodes of a classification for this model, which may have room for more classes.

        Raises:
          UserError: for more classes than it takes, or fewer where each class row is learned on its own.
        """
        assert isinstance(source, ClassSource)
        room = sizes_of(self.config.dataset)[0][1]
        if source.ways != room and not takes_any_ways(self.config):
            raise UserError(
                f"ways must be {room} for this model, whose class rows are each learned on their own, received "
                f"{source.ways}: leave out ways, or train with adaptation.class_rows 'shared' or 'prototypes'."
            )
        return source.within(room)

    def validation(self) -> Validation:
        """What training validates on."""
        return Validation(
            self.episodes("validation"), self.config.train.validation_episodes, self._evaluation_steps(None)
        )

    def evaluation_rule(self, rule: AdaptationRule, steps: int | None = None) -> AdaptationRule:
        """A rule with as many inner steps as an evaluation takes; one without steps as it is.

        Args:
          rule: built.
          steps: instead of the configuration's.

        Raises:
          UserError: if steps are asked of a rule that takes none.
        """
        chosen = self._evaluation_steps(steps)
        return rule if chosen is None else rule.with_steps(chosen)

    def _evaluation_steps(self, steps: int | None) -> int | None:
        if steps is None and self.trainer.method.rule.steps is not None:
            return self.config.adaptation.get("eval_steps", self.trainer.method.rule.steps)
        return steps

    def _describe(self) -> Data:
        self.dataset.check_split("train")
        # All splits are tried now: a test set that is too small should not come to light after the training.
        sources = {split: self.episodes(split) for split in self.dataset.splits}
        regression = self.dataset.problem_kind == "regression"
        problem: Problem = Regression(1) if regression else Classification(sizes_of(self.config.dataset)[0][1])
        shape, value_range = tuple(self.dataset.input_shape), self.dataset.value_range
        features = self.dataset.graph.features.shape[1] if isinstance(self.dataset, NodeDataset) else 0
        classes = len(self.dataset.class_names("train"))
        return Data(problem, shape, value_range, sources["train"].fingerprint, features, classes)


def build_experiment(config: ConfigDict, data: Data | None = None, replicas: Replicas | None = None) -> Experiment:
    """Builds everything. The same configuration gives the same initial weights, in a fresh process.

    Args:
      config: of the experiment.
      data: from a checkpoint, so that the dataset need not be there.
      replicas: as of `Experiment`.

    Raises:
      ConfigurationError: for values that cannot be run.
      DatasetError: if the dataset is missing, malformed, or does not hold what the episodes need.
    """
    check_config(config)
    return Experiment(config, data, replicas)
