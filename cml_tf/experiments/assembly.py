"""From a configuration to its learner, rule, terms and trainer."""

from __future__ import annotations

import keras
from ml_collections import ConfigDict

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, PerStepRates, UpdateRule, anil, boil, make_hypergradient
from cml_tf.experiments.configuration import VECTORISED, ConfigurationError
from cml_tf.learners import (
    GraphConvolutions,
    Learner,
    TwoHeads,
    conv4,
    gcn,
    mlp,
    resnet12,
    sgc,
)
from cml_tf.learners.co_learners import co_learner_of
from cml_tf.objectives import CoLearner, MultiStepWeights, ObjectiveTerm, QueryLoss, Reptile, multi_step_terms
from cml_tf.problems import Problem
from cml_tf.system.machine import WOULD_DIE, bfloat16_works
from cml_tf.training.trainer import Trainer


def build_trainer(
    config: ConfigDict, problem: Problem, input_shape: tuple[int, ...], node_features: int = 0
) -> Trainer:
    """The trainer that a configuration describes, for a problem and inputs of a shape (or nodes with features).

    It seeds Keras and sets the dtype policy of the configuration, so that a fresh process gives the same weights.

    Raises:
      ConfigurationError: for a dtype policy that this machine's processor does not survive.
    """
    _check_precision(config.learner.dtype_policy)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.learner.dtype_policy)
    learner = _learner(config, problem, input_shape, node_features)
    hypergradient = make_hypergradient(config.hypergradient)
    until = config.objective.multi_step_until
    return Trainer(
        learner,
        GradientDescent(
            problem, _update_rule(config), config.adaptation.steps, hypergradient, config.adaptation.sharpness
        ),
        _terms(config, problem),
        problem,
        optimizer=keras.optimizers.Adam(_outer_rate(config), epsilon=config.train.epsilon),
        clip_norm=config.train.clip_norm,
        task_chunk=config.train.task_chunk,
        vectorised=VECTORISED[config.train.vectorised],
        jit_compile=config.train.jit_compile,
        sharpness=config.train.sharpness,
        first_order_steps=config.train.first_order_steps,
        weights_at=MultiStepWeights(config.adaptation.steps, until) if until else None,
    )


def feature_hops(config: ConfigDict) -> int:
    """How often the features of a graph are propagated before the learner sees them."""
    return config.learner.hops if config.learner.name == "sgc" else GraphConvolutions.hops


def _check_precision(policy: str) -> None:
    if policy == "mixed_bfloat16" and not bfloat16_works():
        raise ConfigurationError(f"learner.dtype_policy 'mixed_bfloat16' {WOULD_DIE}, or use 'float32'.")


def _learner(config: ConfigDict, problem: Problem, shape: tuple[int, ...], node_features: int) -> Learner:
    learner = _single_headed(config, problem, shape, node_features)
    if config.objective.co_learner != "adapted":
        return learner
    # CL: the inner loop adapts both heads, so the second one is part of the learner, not of a term.
    heads = TwoHeads(learner.head, _co_learner_layer(config, problem), name="head")
    return Learner(learner.extractor, heads, example_inputs=learner.example_inputs, context=learner.context)


def _single_headed(config: ConfigDict, problem: Problem, shape: tuple[int, ...], node_features: int) -> Learner:
    settings, outputs = config.learner, problem.outputs
    if settings.name == "mlp":
        return mlp(outputs, shape, tuple(settings.hidden), initialisation=settings.initialisation)
    if settings.name == "conv4":
        blocks = settings.extra_blocks, settings.head_blocks
        options = settings.filters, settings.normalisation, *blocks, _normalised_steps(config), settings.initialisation
        return conv4(outputs, shape, *options)
    if settings.name == "resnet12":
        steps = _normalised_steps(config)
        return resnet12(outputs, shape, settings.filters, settings.normalisation, steps, settings.initialisation)
    of_nodes = settings.head, settings.attribute_matching, settings.initialisation
    if settings.name == "gcn":
        return gcn(outputs, node_features, tuple(settings.hidden), *of_nodes)
    return sgc(outputs, node_features, settings.hidden[0], settings.hops, *of_nodes)


def _co_learner_layer(config: ConfigDict, problem: Problem) -> keras.Layer:
    options = {**config.learner, "steps": _normalised_steps(config)}
    adapted = config.objective.co_learner == "adapted"
    return co_learner_of(config.learner.name, problem.outputs, options, config.objective.co_learner_blocks, adapted)


def _normalised_steps(config: ConfigDict) -> int:
    """How many inner steps have a scale and shift of their own."""
    return config.adaptation.steps if config.learner.normalisation == "per_step" else 1


def _outer_rate(config: ConfigDict) -> float | keras.optimizers.schedules.LearningRateSchedule:
    settings = config.train
    if not settings.cosine_steps:
        return settings.rate
    final = settings.final_rate / settings.rate
    return keras.optimizers.schedules.CosineDecay(settings.rate, settings.cosine_steps, alpha=final)


def _update_rule(config: ConfigDict) -> UpdateRule:
    settings = config.adaptation
    if settings.rule == "per_step_rates":
        rule: UpdateRule = PerStepRates(settings.rate, settings.steps)
    else:
        rule = {"sgd": SGD, "meta_sgd": MetaSGD}[settings.rule](settings.rate)
    return {"all": lambda rule: rule, "anil": anil, "boil": boil}[settings.partition](rule)


def _outer_terms(config: ConfigDict, problem: Problem) -> list[ObjectiveTerm]:
    if config.objective.outer == "reptile":
        return [QueryLoss(problem, differentiated=False), Reptile()]
    if config.objective.multi_step_until:
        return multi_step_terms(problem, config.adaptation.steps)
    return [QueryLoss(problem)]


def _terms(config: ConfigDict, problem: Problem) -> list[ObjectiveTerm]:
    settings = config.objective
    terms = _outer_terms(config, problem)
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
