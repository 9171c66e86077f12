"""Small trainers with seeded values, and images to try them on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, UpdateRule
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.learners import conv4, conv4_co_learner, mlp, mlp_co_learner
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer
from tests.helpers.models import randomise

IMAGE_SHAPE = (16, 16, 1)


def sinusoid_trainer(rate: float = 0.01, update_rule: UpdateRule | None = None, **arguments: Any) -> Trainer:
    """CML with an MLP 1-8-8-1 on waves; the same values at every call."""
    problem = Regression(1)
    learner = mlp(1, (1,), hidden=(8, 8))
    terms = [QueryLoss(problem), CoLearner(mlp_co_learner(1, 8), problem, weight=0.2)]
    trainer = Trainer(learner, GradientDescent(problem, update_rule or SGD(rate)), terms, problem, **arguments)
    return _seeded(trainer)


def tiny_trainer(**arguments: Any) -> Trainer:
    """MAML of first order with an MLP 1-4-1 on waves: compiled in no time, for tests of what goes on around a step."""
    problem = Regression(1)
    rule = GradientDescent(problem, SGD(0.01), hypergradient=FirstOrder())
    return _seeded(Trainer(mlp(1, (1,), hidden=(4,)), rule, [QueryLoss(problem)], problem, **arguments))


def image_trainer(ways: int = 3, update_rule: UpdateRule | None = None, **arguments: Any) -> Trainer:
    """CML with a four-block net of 4 filters on 16x16 images; the same values at every call."""
    problem = Classification(ways)
    learner = conv4(ways, IMAGE_SHAPE, filters=4)
    terms = [QueryLoss(problem), CoLearner(conv4_co_learner(ways, filters=4, blocks=1), problem)]
    trainer = Trainer(learner, GradientDescent(problem, update_rule or SGD(0.1)), terms, problem, **arguments)
    return _seeded(trainer)


def image_model(ways: int = 3, seed: int = 0) -> FewShotModel:
    """MAML with an MLP of 4 hidden units on 16x16 images in [0, 1]."""
    problem, learner = Classification(ways), mlp(ways, IMAGE_SHAPE, hidden=(4,))
    randomise(learner, seed)
    method = Method.of(learner, GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)])
    return FewShotModel(method, problem, (0.0, 1.0))


def image_pool(seed: int = 0, classes: int = 6, examples: int = 5) -> ClassPool:
    """Noise around a picture of each class."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0, 255, (classes, 1, *IMAGE_SHAPE))
    images = np.clip(centres + generator.normal(0, 20, (classes, examples, *IMAGE_SHAPE)), 0, 255).astype(np.uint8)
    names = tuple(f"class {number}" for number in range(classes))
    return ClassPool(names, np.full(classes, examples, np.int64), images.reshape(-1, *IMAGE_SHAPE))


def drawings() -> ImageDataset:
    """A dataset of such pictures, six classes a split."""
    pools = {}
    for seed, split in enumerate(("train", "validation", "test")):
        pool = image_pool(seed)
        names = tuple(f"{split} {name}" for name in pool.class_names)
        pools[split] = ClassPool(names, pool.counts, pool.images)
    return ImageDataset.from_pools("drawings", pools)


def variable_values(trainer: Trainer) -> dict[str, np.ndarray]:
    """Every array of a trainer's state: variables and optimisers."""
    return trainer.state()[0]


def _seeded(trainer: Trainer) -> Trainer:
    variables: list[keras.Variable] = tf.nest.flatten(trainer.method.trained_variables())
    randomise([variable for variable in variables if "rates" not in variable.name], seed=0)
    return trainer
