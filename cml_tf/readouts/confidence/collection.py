"""What a model says to the queries of many episodes, of known classes and of others: what confidence is fitted on."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import EpisodeSource
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.problems import Classification, at_least_float32
from cml_tf.readouts.confidence.confidence import Confidence, Summary
from cml_tf.training.method import Method
from cml_tf.training.task_mapping import map_tasks

UNKNOWN = -1


class Collected(NamedTuple):
    """Of every episode, the queries' logits and labels, and what a score may read.

    Example:
      >>> summary = Summary(np.ones((4, 2)), np.zeros((4, 2, 0)))
      >>> collected = Collected(np.zeros((4, 6, 2)), np.zeros((4, 6), int), np.zeros((4, 6, 8)), summary)
      >>> collected.part(slice(3)).logits.shape
      (3, 6, 2)

    Attributes:
      logits: `[episodes, queries, ways]`.
      labels: integers `[episodes, queries]` in `[0, ways)`; `UNKNOWN` for queries of classes outside the task.
      features: `[episodes, queries, ...]`.
      summary: of each task: counts `[episodes, ways]`, means `[episodes, ways, width]`.
    """

    logits: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    summary: Summary

    def part(self, rows: slice) -> Collected:
        """Some of the episodes."""
        return tf.nest.map_structure(lambda array: array[rows], self)

    def answers(self, confidence: Confidence) -> dict[str, np.ndarray]:
        """What the queries get (`Confidence.outputs`), and `log_probabilities`, with an axis of episodes first."""
        # A partial is a function of its own to TensorFlow, which else would warn of one that is traced too often.
        mapped = tf.function(functools.partial(_mapped, confidence), autograph=False)
        return {name: array.numpy() for name, array in mapped(tf.nest.map_structure(tf.constant, self)).items()}


def _mapped(confidence: Confidence, collected: Collected) -> dict[str, tf.Tensor]:
    def one(episode: Collected) -> dict[str, tf.Tensor]:
        reading = confidence.reading(episode.logits, episode.features, episode.summary)
        answers = confidence.answers(episode.logits, episode.features, episode.summary)
        return {**answers, "log_probabilities": tf.nn.log_softmax(reading.calibrated)}

    signature = {name: spec.dtype for name, spec in confidence.outputs.items()} | {"log_probabilities": tf.float32}
    return tf.map_fn(one, collected, fn_output_signature=signature)


def collect(
    method: Method, source: EpisodeSource, episodes: int, confidence: Confidence, meta_batch: int = 4
) -> Collected:
    """Adapts to each episode's first classes, as many as the confidence has ways, and asks all of its queries.

    Args:
      method: a readout; of a model that has more ways, the logits of the others are left out.
      source: of at least as many ways; the classes beyond them are unknown to their tasks.
      episodes: how many.
      confidence: says what its score reads.
      meta_batch: tasks a call; it changes speed only.

    Raises:
      UserError: if the source has too few ways, a model of another kind is asked, or adaptation diverges.
    """
    ways, problem = confidence.ways, source.problem
    if not isinstance(problem, Classification) or problem.ways < ways:
        raise UserError(f"episodes must have at least {ways} ways, received {problem}.")
    answer = tf.function(functools.partial(_answers, method, confidence, problem.ways), autograph=False)
    parts: list[Any] = []
    for batch in source.batches(0, meta_batch):
        parts.append(tf.nest.map_structure(lambda tensor: tensor.numpy(), answer(batch)))
        if meta_batch * len(parts) >= episodes:
            break
    found: Collected = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays)[:episodes], *parts)
    if not all(np.isfinite(array).all() for array in (found.logits, found.features, found.summary.means)):
        raise UserError(
            "adaptation diverged in an episode, so nothing can be measured: use fewer inner steps (--steps) or another "
            "checkpoint."
        )
    return found


def _answers(method: Method, confidence: Confidence, ways: int, episode: Episode) -> Collected:
    initial, values = method.initial(), method.term_values()[0]

    def one(task: Episode) -> Collected:
        support, rule = _known(task.support, confidence.ways, ways), method.rule
        query_inputs = task.query.inputs if rule.uses_query_inputs else None
        adapted = rule.adapt(method.learner, initial, support, task.context, query_inputs)
        features, outputs = adapted.predict(task.query.inputs)
        logits = at_least_float32(method.terms[0].read((features, outputs), values))[:, : confidence.ways]
        unknown = tf.fill(tf.shape(task.query.targets), UNKNOWN)
        labels = tf.where(task.query.targets < confidence.ways, task.query.targets, unknown)
        read = confidence.flat_features(features, tf.shape(logits)[0])
        return Collected(tf.cast(logits, tf.float32), labels, read, confidence.summary(adapted, support))

    return map_tasks(one, episode)


def _known(support: Examples, known: int, ways: int) -> Examples:
    """The support examples of the classes that the task knows."""
    rows = support.targets.shape[0] * known // ways
    chosen = tf.ensure_shape(tf.where(support.targets < known)[:, 0], [rows])
    return Examples(*tf.nest.map_structure(lambda leaf: tf.gather(leaf, chosen), tuple(support[:2])))
