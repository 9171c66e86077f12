"""From a configuration to its objects: dataset, learner, rule, terms, trainer."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from ml_collections import ConfigDict

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, UpdateRule, anil, boil, make_hypergradient
from cml_tf.configuration import check_config
from cml_tf.datasets import EpisodeSource, FewShotDataset, load_dataset
from cml_tf.learners import Learner, TwoHeads, conv4, conv4_co_learner, conv4_head, mlp, mlp_co_learner
from cml_tf.objectives import CoLearner, ObjectiveTerm, QueryLoss
from cml_tf.problems import Classification, Problem, Regression
from cml_tf.trainer import Trainer, Validation


@dataclass(frozen=True)
class Experiment:
    """Everything that a configuration describes, built.

    Attributes:
      config: the configuration.
      dataset: where its episodes come from.
      problem: what is learned.
      trainer: untrained, or restored by whoever asks.
    """

    config: ConfigDict
    dataset: FewShotDataset
    problem: Problem
    trainer: Trainer

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


def build_experiment(config: ConfigDict) -> Experiment:
    """Builds everything. The same configuration gives the same initial weights, in a fresh process.

    Raises:
      ConfigurationError: for values that cannot be run.
      DatasetError: if the dataset is missing, malformed, or does not hold what the episodes need.
    """
    check_config(config)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.learner.dtype_policy)
    dataset = _load(config)
    problem: Problem = Regression(1) if dataset.problem_kind == "regression" else Classification(config.dataset.ways)
    learner = _learner(config, dataset, problem)
    rule = GradientDescent(
        problem, _update_rule(config), config.adaptation.steps, make_hypergradient(config.hypergradient)
    )
    trainer = Trainer(
        learner,
        rule,
        _terms(config, problem),
        problem,
        optimizer=keras.optimizers.Adam(config.train.rate),
        clip_norm=config.train.clip_norm,
    )
    experiment = Experiment(config, dataset, problem, trainer)
    for split in dataset.splits:
        experiment.episodes(split)
    return experiment


def _load(config: ConfigDict) -> FewShotDataset:
    settings = config.dataset
    options = {}
    if settings.name == "image_folder":
        options = {"image_size": tuple(settings.image_size), "channels": settings.channels}
    return load_dataset(settings.name, settings.root, **options)


def _learner(config: ConfigDict, dataset: FewShotDataset, problem: Problem) -> Learner:
    settings = config.learner
    shape = tuple(dataset.input_shape)
    if settings.name == "mlp":
        learner = mlp(problem.outputs, shape, tuple(settings.hidden))
        own_head: keras.Layer = learner.head
    else:
        learner = conv4(problem.outputs, shape, settings.filters, settings.normalisation, settings.extra_blocks)
        own_head = conv4_head(problem.outputs)
    if config.objective.co_learner != "adapted":
        return learner
    # CL: the inner loop adapts both heads, so the second one is part of the learner, not of a term.
    heads = TwoHeads(own_head, _co_learner_layer(config, problem), name="head")
    return Learner(learner.extractor, heads, input_shape=shape)


def _co_learner_layer(config: ConfigDict, problem: Problem) -> keras.Layer:
    if config.learner.name == "mlp":
        return mlp_co_learner(problem.outputs, config.learner.hidden[-1])
    return conv4_co_learner(
        problem.outputs, config.learner.filters, config.learner.normalisation, config.objective.co_learner_blocks
    )


def _update_rule(config: ConfigDict) -> UpdateRule:
    rule: UpdateRule = {"sgd": SGD, "meta_sgd": MetaSGD}[config.adaptation.rule](config.adaptation.rate)
    return {"all": lambda rule: rule, "anil": anil, "boil": boil}[config.adaptation.partition](rule)


def _terms(config: ConfigDict, problem: Problem) -> list[ObjectiveTerm]:
    settings = config.objective
    terms: list[ObjectiveTerm] = [QueryLoss(problem)]
    if settings.co_learner == "none":
        return terms
    if settings.co_learner == "adapted":
        return [*terms, QueryLoss(problem, head=1, name="second_head", weight=settings.gamma, prefix="co_")]
    for number in range(1, settings.co_learners + 1):
        suffix = "" if number == 1 else f"_{number}"
        terms.append(
            CoLearner(
                _co_learner_layer(config, problem),
                problem,
                name=f"co_learner{suffix}",
                weight=settings.gamma,
                trained=settings.co_learner == "cooperative",
                prefix="co_" if number == 1 else f"co_{number}_",
            )
        )
    return terms
