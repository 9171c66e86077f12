"""Small exported models, and requests to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, UpdateRule
from cml_tf.learners import Learner, conv4, mlp
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Problem, Regression
from cml_tf.training.method import Method
from export.exporter import write_version
from export.gate.reference import Reference
from export.gate.warm_up import warm_up_requests
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule
from export.graph.specifications import target_name
from export.requests.form import Bucket
from tests.helpers.models import randomise

WAYS = 3
IMAGE_SHAPE = (16, 16, 1)
Arrays = dict[str, np.ndarray]


@dataclass
class Served:
    """An exported model, callable by signature with arrays."""

    model: Exportable
    module: ServingModule
    functions: Any
    directory: Path | None = None

    def __call__(self, signature: str, /, **inputs: Any) -> Arrays:
        outputs = self.functions[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    @cached_property
    def in_process(self) -> FewShotModel:
        """The same model as a user of the library has it."""
        return FewShotModel(self.model.method, self.model.problem, None)


def image_model(normalisation: str = "batch_transductive", steps: int = 2, rate: float = 0.1) -> Exportable:
    """Four blocks of 4 filters on 16x16 images, 3 ways."""
    return exportable(conv4(WAYS, IMAGE_SHAPE, 4, normalisation), Classification(WAYS), SGD(rate), steps)


def wave_model(update_rule: UpdateRule | None = None, steps: int = 2) -> Exportable:
    """1-8-8-1."""
    return exportable(mlp(1, (1,), hidden=(8, 8)), Regression(1), update_rule or SGD(0.01), steps, (-5.0, 5.0))


def exportable(
    learner: Learner, problem: Problem, rule: UpdateRule, steps: int, value_range: tuple[float, float] = (0.0, 1.0)
) -> Exportable:
    """A model with seeded values."""
    randomise(learner, seed=0)
    method = Method(learner, GradientDescent(problem, rule, steps), [QueryLoss(problem)])
    return Exportable(method, problem, value_range)


def in_process(model: Exportable) -> Served:
    """The functions that would be saved."""
    module = ServingModule(model)
    return Served(model, module, Traced(module))


def saved(model: Exportable, directory: Path) -> Served:
    """Written with its warm-up requests, and loaded again."""
    module = ServingModule(model)
    reference = Reference(model, module.fingerprint)
    write_version(directory, module, warm_up_requests(model, [Bucket(WAYS, 2)], reference), "small")
    loaded = tf.saved_model.load(str(directory))
    # The functions hold no reference to the module that holds their variables.
    functions: Callable = loaded.signatures
    return Served(model, module, Owned(functions, loaded), directory)


class Traced(dict):
    """Functions by name, each traced when it is first asked for."""

    def __init__(self, module: ServingModule) -> None:
        super().__init__()
        self._module = module

    def __missing__(self, name: str) -> Callable:
        self[name] = self._module.function(name)
        return self[name]


@dataclass
class Owned:
    """Functions by name, together with what must outlive them."""

    functions: Any
    owner: Any

    def __getitem__(self, name: str) -> Callable:
        return self.functions[name]


def request(model: Exportable, tasks: int = 1, support: int = 6, query: int = 4, seed: int = 0) -> Arrays:
    """Inputs of `serving_default`, each class in turn."""
    generator = np.random.default_rng(seed)

    def draw(examples: int) -> np.ndarray:
        return generator.uniform(*model.value_range, (tasks, examples, *model.input_shape)).astype(np.float32)

    if model.classification:
        targets = np.tile(np.arange(support, dtype=np.int32) % model.problem.outputs, (tasks, 1))
    else:
        targets = generator.uniform(-3, 3, (tasks, support, model.problem.outputs)).astype(np.float32)
    return {"support_inputs": draw(support), target_name(model): targets, "query_inputs": draw(query)}


def support_only(inputs: Arrays) -> Arrays:
    """Inputs of `adapt`."""
    return {name: array for name, array in inputs.items() if name.startswith("support_")}


def state_of(answer: Arrays) -> Arrays:
    """What `adapt` gave and `predict` takes."""
    return {name: answer[name] for name in ("adapted_state", "model_fingerprint")}


def sizes(support: list[int], query: list[int]) -> Arrays:
    """The sizes that `adapt_and_predict_padded` takes."""
    return {"support_size": np.array(support, np.int32), "query_size": np.array(query, np.int32)}
