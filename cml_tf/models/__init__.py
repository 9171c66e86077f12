"""Trained models: what a notebook adapts, predicts with, saves and loads; which head answers."""

from cml_tf.models.few_shot_model import AdaptedModel, FewShotModel
from cml_tf.readouts.readouts import READOUTS, read_through

__all__ = ["READOUTS", "AdaptedModel", "FewShotModel", "read_through"]
