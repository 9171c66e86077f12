"""Models: what a notebook fits, adapts, predicts with, saves and loads; which head answers."""

from cml_tf.models.ensemble import AdaptedEnsemble, Ensemble
from cml_tf.models.few_shot import FewShot
from cml_tf.models.few_shot_model import AdaptedModel, FewShotModel
from cml_tf.models.learner_recipes import LearnerRecipe
from cml_tf.models.method_recipes import MethodRecipe
from cml_tf.models.score import Score
from cml_tf.readouts import read_through

__all__ = [
    "AdaptedEnsemble",
    "AdaptedModel",
    "Ensemble",
    "FewShot",
    "FewShotModel",
    "LearnerRecipe",
    "MethodRecipe",
    "Score",
    "read_through",
]
