"""Cooperative Meta-Learning in TensorFlow: few-shot models that learn a new task from a handful of examples.

Names are looked up when they are first used, so that parts which do not need TensorFlow work without loading it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# First of all: whatever imports TensorFlow imports Keras, which reads the settings of other projects then.
from cml_tf.system import renamed, settings  # noqa: F401
from cml_tf.system.lazy import lazy

if TYPE_CHECKING:
    from cml_tf.episodes import Episode, Examples
    from cml_tf.experiments.loading import load
    from cml_tf.learners import Learner
    from cml_tf.models.ensemble import Ensemble
    from cml_tf.models.few_shot import FewShot
    from cml_tf.models.few_shot_model import AdaptedModel, FewShotModel
    from cml_tf.models.learner_recipes import conv4, gcn, mlp, resnet12, sgc
    from cml_tf.models.method_recipes import anil, boil, cml, maml, meta_sgd, method_of, reptile
    from cml_tf.models.trainer import Trainer
    from cml_tf.problems import Classification, Regression
    from cml_tf.training.meta_step import NonFiniteLoss
    from cml_tf.training.trainer import Validation

renamed.install()

__all__ = [
    "AdaptedModel",
    "Classification",
    "Ensemble",
    "Episode",
    "Examples",
    "FewShot",
    "FewShotModel",
    "Learner",
    "NonFiniteLoss",
    "Regression",
    "Trainer",
    "Validation",
    "anil",
    "boil",
    "cml",
    "conv4",
    "gcn",
    "load",
    "maml",
    "meta_sgd",
    "method_of",
    "mlp",
    "reptile",
    "resnet12",
    "sgc",
]
_MODULES = {
    "AdaptedModel": "models.few_shot_model",
    "Classification": "problems",
    "Ensemble": "models.ensemble",
    "Episode": "episodes",
    "Examples": "episodes",
    "FewShot": "models.few_shot",
    "FewShotModel": "models.few_shot_model",
    "Learner": "learners",
    "NonFiniteLoss": "training.meta_step",
    "Regression": "problems",
    "Trainer": "models.trainer",
    "Validation": "training.trainer",
    "anil": "models.method_recipes",
    "boil": "models.method_recipes",
    "cml": "models.method_recipes",
    "conv4": "models.learner_recipes",
    "gcn": "models.learner_recipes",
    "load": "experiments.loading",
    "maml": "models.method_recipes",
    "meta_sgd": "models.method_recipes",
    "method_of": "models.method_recipes",
    "mlp": "models.learner_recipes",
    "reptile": "models.method_recipes",
    "resnet12": "models.learner_recipes",
    "sgc": "models.learner_recipes",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _MODULES)
