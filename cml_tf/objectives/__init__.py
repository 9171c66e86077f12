"""Objectives: the terms of the outer loss, and the reducers over tasks. A new term is a new file here."""

from cml_tf.objectives.all_classes import AllClasses
from cml_tf.objectives.co_learner import CoLearner
from cml_tf.objectives.mixed_trajectory import mixed_trajectory_terms, trajectory_weights
from cml_tf.objectives.multi_step import StepLoss, StepWeight, multi_step_terms
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.query_mixup import QueryMixup
from cml_tf.objectives.reducers import MeanOverTasks, TaskGradients, TaskReducer
from cml_tf.objectives.reptile import Reptile
from cml_tf.objectives.task_weights import TaskWeights
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.registry import import_members

__all__ = [
    "AllClasses",
    "CoLearner",
    "MeanOverTasks",
    "ObjectiveTerm",
    "QueryLoss",
    "QueryMixup",
    "Reptile",
    "StepLoss",
    "StepWeight",
    "TaskGradients",
    "TaskOutcome",
    "TaskReducer",
    "TaskWeights",
    "TermLoss",
    "Weight",
    "mixed_trajectory_terms",
    "multi_step_terms",
    "trajectory_weights",
]

import_members(__name__, __path__)
