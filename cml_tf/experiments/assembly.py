"""From a configuration to its trainer."""

from __future__ import annotations

import keras
from ml_collections import ConfigDict

from cml_tf.experiments.configuration import flatten
from cml_tf.experiments.settings import VECTORISED
from cml_tf.problems import Problem
from cml_tf.registry import Choice, ConfigurationError, Given
from cml_tf.system.machine import WOULD_DIE, bfloat16_works
from cml_tf.training.assembly import assemble
from cml_tf.training.replicas import Replicas
from cml_tf.training.schedule import Schedule
from cml_tf.training.trainer import Trainer


def build_trainer(
    config: ConfigDict,
    problem: Problem,
    input_shape: tuple[int, ...],
    node_features: int = 0,
    classes: int = 0,
    restored: bool = False,
    replicas: Replicas | None = None,
) -> Trainer:
    """The trainer that a configuration describes, for a problem and inputs of a shape (or nodes with features).

    It seeds Keras and sets the dtype policy of the configuration, so that a fresh process gives the same weights.

    Args:
      config: checked.
      problem: what is learned.
      input_shape: of one example.
      node_features: as of `Given`, like the following.
      classes: likewise.
      restored: likewise.
      replicas: as of `Trainer`.

    Raises:
      ConfigurationError: for a dtype policy that this machine's processor does not survive.
    """
    _check_precision(config.learner.dtype_policy)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.learner.dtype_policy)
    settings = dict(flatten(config.to_dict()))
    method = assemble(Choice.of(settings), Given(problem, settings, input_shape, node_features, classes, restored))
    train = config.train
    return Trainer(
        method.learner,
        method.rule,
        method.terms,
        problem,
        reducer=method.reducer,
        optimizer=keras.optimizers.Adam(_outer_rate(config), epsilon=train.epsilon),
        clip_norm=train.clip_norm,
        task_chunk=train.task_chunk,
        vectorised=VECTORISED[train.vectorised],
        jit_compile=train.jit_compile,
        sharpness=train.sharpness,
        schedule=Schedule(train.get("first_order_steps", 0)),
        accumulate=train.accumulate,
        replicas=replicas,
    )


def feature_hops(config: ConfigDict) -> int:
    """How often the features of a graph are propagated before the learner sees them."""
    settings = dict(flatten(config.to_dict()))
    return int(Choice.of(settings).members()["learner"].traits["hops"](settings))


def takes_any_ways(config: ConfigDict) -> bool:
    """Whether tasks may have fewer classes than the model has room for."""
    settings = dict(flatten(config.to_dict()))
    return bool(Choice.of(settings).members()["rule"].traits["any_ways"](settings))


def _check_precision(policy: str) -> None:
    if policy == "mixed_bfloat16" and not bfloat16_works():
        raise ConfigurationError(f"learner.dtype_policy 'mixed_bfloat16' {WOULD_DIE}, or use 'float32'.")


def _outer_rate(config: ConfigDict) -> float | keras.optimizers.schedules.LearningRateSchedule:
    settings = config.train
    if not settings.cosine_steps:
        return settings.rate
    final = settings.final_rate / settings.rate
    return keras.optimizers.schedules.CosineDecay(settings.rate, settings.cosine_steps, alpha=final)
