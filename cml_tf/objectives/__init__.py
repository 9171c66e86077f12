"""Objectives: the terms of the outer loss. A new term is a new file here."""

from cml_tf.objectives.co_learner import CoLearner
from cml_tf.objectives.multi_step import MultiStepWeights, StepLoss, multi_step_terms
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.reptile import Reptile
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TaskReducer, TermLoss, mean_over_tasks

__all__ = [
    "CoLearner",
    "MultiStepWeights",
    "ObjectiveTerm",
    "QueryLoss",
    "Reptile",
    "StepLoss",
    "TaskOutcome",
    "TaskReducer",
    "TermLoss",
    "mean_over_tasks",
    "multi_step_terms",
]
