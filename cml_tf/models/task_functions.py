"""Adaptation and prediction of one task as compiled functions that every task of a model shares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.base import AdaptedTask, Initial
from cml_tf.episodes import Examples
from cml_tf.method import Method
from cml_tf.problems import Problem


class TaskFunctions:
    """Compiled once for each shape of support and query set; everything else is an argument.

    Args:
      method: a readout: its first term reads the outputs.
      problem: what the outputs mean.
    """

    def __init__(self, method: Method, problem: Problem) -> None:
        self.method = method
        self.problem = problem
        self.adapt = _compiled(self._adapt)
        self.predict = _compiled(self._predict)
        self.adapt_and_predict = _compiled(self._adapt_and_predict)

    def _adapt(self, initial: Initial, support: Examples, context: Any) -> tf.Tensor:
        return self.method.rule.adapt(self.method.learner, initial, support, context).pack()

    def _predict(self, initial: Initial, packed: tf.Tensor, context: Any, inputs: Any, columns: tf.Tensor) -> tf.Tensor:
        return self._read(self.method.rule.unpack(self.method.learner, initial, packed, context), inputs, columns)

    def _adapt_and_predict(
        self, initial: Initial, support: Examples, context: Any, inputs: Any, columns: tf.Tensor
    ) -> tf.Tensor:
        return self._read(
            self.method.rule.adapt(self.method.learner, initial, support, context, inputs), inputs, columns
        )

    def _read(self, adapted: AdaptedTask, inputs: Any, columns: tf.Tensor) -> tf.Tensor:
        outputs = self.method.terms[0].read(adapted.predict(inputs), self.method.term_values()[0])
        # Before the softmax: the classes that the task has share the probability, and nothing can underflow to 0/0.
        return self.problem.predictions(outputs[:, :columns])


def _compiled(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    # TensorFlow counts traces by code object, so that the first calls of several models would look to it like one
    # function that is traced again and again; a partial is counted by itself.
    return tf.function(functools.partial(function), autograph=False, reduce_retracing=True)
