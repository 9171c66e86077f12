"""Readouts: what answers after training. A new readout is a new file here."""

from cml_tf.readouts.co_learner import CoLearnerAsHead, CoLearnerOnAdapted
from cml_tf.readouts.readout import (
    LearnerReadout,
    Readout,
    answers_as_head,
    read_through,
    served_variables,
    through_head,
)
from cml_tf.registry import import_members

__all__ = [
    "CoLearnerAsHead",
    "CoLearnerOnAdapted",
    "LearnerReadout",
    "Readout",
    "answers_as_head",
    "read_through",
    "served_variables",
    "through_head",
]

import_members(__name__, __path__)
