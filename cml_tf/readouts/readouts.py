"""Readouts: which head answers after adaptation. CML and both versions of CML-dagger (arXiv 2406.04639).

- `learner`: (psi', theta'); the co-learner is not used. CML.
- `co_learner`: phi is the head *while adapting*: psi adapts through the frozen phi (the paper's eq. 9). CML-dagger.
- `co_learner_theta_adapted`: (psi, theta) adapt through theta, then phi reads the adapted features (released code).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.learners.learner import Learner
from cml_tf.objectives.co_learner import CoLearner
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Problem
from cml_tf.training.method import Method

READOUTS = ("learner", "co_learner", "co_learner_theta_adapted")


def read_through(method: Method, problem: Problem, readout: str) -> Method:
    """The method whose only term is the readout, so that its metric and outputs are the readout's.

    Example:
      >>> method = cml_tf.load("letters").method
      >>> read_through(method, cml_tf.Classification(3), "learner").terms[0].name
      'query_loss'

    Raises:
      ValueError: for an unknown readout, or one that needs a co-learner where there is none.
    """
    if readout not in READOUTS:
        raise ValueError(f"readout must be one of {', '.join(READOUTS)}, received {readout!r}.")
    if readout == "learner":
        return Method.of(method.learner, method.rule, [QueryLoss(problem)])
    if readout == "co_learner_theta_adapted":
        return Method.of(method.learner, method.rule, [_co_term(method, problem)])
    learner, phi = method.learner, _co_head(method, problem)
    through_phi = Learner(learner.extractor, phi, example_inputs=learner.example_inputs, context=learner.context)
    head_shapes = tf.nest.map_structure(lambda v: tuple(v.shape), learner.variables.head)
    return Method.of(through_phi, method.rule.through_head(head_shapes), [QueryLoss(problem)])


def _co_term(method: Method, problem: Problem) -> Any:
    if method.learner.second_head is not None:
        return QueryLoss(problem, head=1)
    term = next((term for term in method.terms if term.layer is not None), None)
    if term is None or term.layer is None:
        raise ValueError("this model was trained without a co-learner: use the readout 'learner'.")
    return CoLearner(term.layer, problem, prefix="")


def _co_head(method: Method, problem: Problem) -> Any:
    if method.learner.second_head is not None:
        return method.learner.second_head
    return _co_term(method, problem).layer
