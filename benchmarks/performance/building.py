"""The work of a benchmark, built of cml_tf."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers.plain import plain_conv4, plain_conv4_co_learner
from benchmarks.performance.node_building import HIDDEN, SGC_HOPS, node_episode, random_graph
from benchmarks.performance.work import Work
from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.episodes import Episode, Examples
from cml_tf.learners import Learner, conv4, conv4_co_learner, gcn, mlp, mlp_co_learner, sgc
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification, Problem, Regression
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method


def build_method(work: Work) -> Method:
    """The method of the work, with random initial values from a fixed seed."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(work.dtype_policy)
    problem = build_problem(work)
    rule = GradientDescent(problem, SGD(work.rate), work.steps, make_hypergradient(work.hypergradient))
    learner, co_learner = _parts(work)
    return Method.of(learner, rule, [QueryLoss(problem), CoLearner(co_learner, problem, weight=work.gamma)])


def build_problem(work: Work) -> Problem:
    """What the targets mean."""
    return Regression(1) if work.learner == "mlp" else Classification(work.ways)


def build_step(method: Method, work: Work) -> MetaStep:
    """The meta-step with Adam."""
    optimizer = keras.optimizers.Adam(1e-3)
    return MetaStep(method, dict.fromkeys(method.trained_variables(), optimizer), task_chunk=work.task_chunk)


def build_episode(work: Work, dtype: type[np.floating] = np.float32) -> Episode:
    """Random examples; what a step costs does not depend on them."""
    if work.nodes:
        return node_episode(work, random_graph(work), np.dtype(dtype).name)
    generator = np.random.default_rng(0)

    def examples(count: int) -> Examples:
        if work.learner == "mlp":
            inputs = generator.uniform(-5, 5, (work.tasks, count, 1)).astype(dtype)
            return Examples(tf.constant(inputs), tf.constant(np.sin(inputs)))
        shape = (work.tasks, work.ways * count, work.size, work.size, work.channels)
        labels = np.tile(np.repeat(np.arange(work.ways, dtype=np.int32), count), (work.tasks, 1))
        return Examples(tf.constant(generator.random(shape).astype(dtype)), tf.constant(labels))

    # What some objectives ask for: numbers to draw from, and which training class each label stands for.
    key = tf.constant([[0, task] for task in range(work.tasks)], tf.int64)
    classes = tf.tile(tf.range(work.ways)[tf.newaxis], [work.tasks, 1])
    return Episode(examples(work.shots), examples(work.queries), (), key, () if work.learner == "mlp" else classes)


def _parts(work: Work) -> tuple[Learner, keras.Layer]:
    if work.learner == "mlp":
        return mlp(1, (1,)), mlp_co_learner(1)
    if work.learner == "gcn":
        return gcn(work.ways, work.features, HIDDEN), mlp_co_learner(work.ways, HIDDEN[-1])
    if work.learner == "sgc":
        return sgc(work.ways, work.features, HIDDEN[0], SGC_HOPS), mlp_co_learner(work.ways, HIDDEN[0])
    shape = (work.size, work.size, work.channels)
    if work.plain:
        return plain_conv4(work.ways, shape, work.filters), plain_conv4_co_learner(work.ways, work.filters)
    return conv4(work.ways, shape, work.filters), conv4_co_learner(work.ways, work.filters)
