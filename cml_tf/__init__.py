"""Cooperative Meta-Learning in TensorFlow: few-shot models that learn a new task from a handful of examples."""

# First of all: whatever imports TensorFlow imports Keras, which reads the settings of other projects then.
from cml_tf import keras_settings  # noqa: F401

# isort: split
from cml_tf.episodes import Episode, Examples
from cml_tf.experiments.loading import load
from cml_tf.learners import Learner
from cml_tf.models.few_shot_model import AdaptedModel, FewShotModel
from cml_tf.non_finite_loss import NonFiniteLoss
from cml_tf.problems import Classification, Regression
from cml_tf.trainer import Trainer, Validation

__all__ = [
    "AdaptedModel",
    "Classification",
    "Episode",
    "Examples",
    "FewShotModel",
    "Learner",
    "NonFiniteLoss",
    "Regression",
    "Trainer",
    "Validation",
    "load",
]
