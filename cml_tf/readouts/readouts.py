"""Readouts: which head answers after adaptation. CML and both versions of CML-dagger (arXiv 2406.04639).

- `learner`: (psi', theta'); the co-learner is not used. CML.
- `co_learner`: phi is the head *while adapting*: psi adapts through the frozen phi (the paper's eq. 9). CML-dagger.
- `co_learner_theta_adapted`: (psi, theta) adapt through theta, then phi reads the adapted features (released code).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.adaptation.gradient_descent import GradientDescent
from cml_tf.adaptation.updates.partition import FrozenHead
from cml_tf.learners.layers.heads import TwoHeads
from cml_tf.learners.learner import Learner
from cml_tf.objectives.co_learner import CoLearner
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Problem
from cml_tf.training.method import Method

READOUTS = ("learner", "co_learner", "co_learner_theta_adapted")


def read_through(method: Method, problem: Problem, readout: str) -> Method:
    """The method whose only term is the readout, so that its metric and outputs are the readout's.

    Raises:
      ValueError: for an unknown readout, or one that needs a co-learner where there is none.
    """
    if readout not in READOUTS:
        raise ValueError(f"readout must be one of {', '.join(READOUTS)}, received {readout!r}.")
    if readout == "learner":
        return Method(method.learner, method.rule, [QueryLoss(problem)])
    if readout == "co_learner_theta_adapted":
        return Method(method.learner, method.rule, [_co_term(method, problem)])
    if not isinstance(method.rule, GradientDescent):
        raise ValueError(f"readout {readout!r} needs gradient descent, received {type(method.rule).__name__}.")
    learner, phi = method.learner, _co_head(method, problem)
    through_phi = Learner(learner.extractor, phi, example_inputs=learner.example_inputs, context=learner.context)
    head_shapes = tf.nest.map_structure(lambda v: tuple(v.shape), learner.variables.head)
    rule = method.rule.with_update_rule(FrozenHead(method.rule.update_rule, head_shapes))
    return Method(through_phi, rule, [QueryLoss(problem)])


def _co_term(method: Method, problem: Problem) -> Any:
    if isinstance(method.learner.head, TwoHeads):
        return QueryLoss(problem, head=1)
    term = next((term for term in method.terms if isinstance(term, CoLearner)), None)
    if term is None:
        raise ValueError("this model was trained without a co-learner: only readout 'learner' exists.")
    return CoLearner(term.layer, problem, prefix="")


def _co_head(method: Method, problem: Problem) -> Any:
    if isinstance(method.learner.head, TwoHeads):
        return method.learner.head.second
    return _co_term(method, problem).layer
