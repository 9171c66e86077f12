"""Saved models: a directory with `model.json` (layers, rule and problem as JSON) and `variables.npz`.

Layers are described by Keras' own serialisation and rebuilt in its safe mode: nothing in the files is executed. Layers
and rules of your own must be registered with `keras.saving.register_keras_serializable`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from cml_tf.adaptation.gradient_descent import GradientDescent
from cml_tf.checkpoints import CheckpointError, assign_values, named_values, read_checkpoint, write_checkpoint
from cml_tf.files import write_json
from cml_tf.learners.learner import Learner
from cml_tf.method import Method
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Classification, Problem, Regression

MODEL, VARIABLES = "model.json", "variables.npz"
_PROBLEMS = {"classification": Classification, "regression": Regression}


def write_model(path: Path, method: Method, problem: Problem) -> None:
    """Writes the learner and the rule; terms are left out.

    Raises:
      ValueError: if inputs are not a single tensor, a context is used, the rule is not gradient descent, or a part
        cannot be serialised.
    """
    learner, rule = method.learner, method.rule
    inputs = learner.example_inputs
    if not hasattr(inputs, "shape") or not isinstance(rule, GradientDescent) or learner.context != ():
        raise ValueError(
            "only learners with one input tensor and no context, adapted by GradientDescent, can be saved; received "
            f"inputs {type(inputs).__name__} and rule {type(rule).__name__}. Keep a checkpoint of its variables."
        )
    serialise = keras.saving.serialize_keras_object
    description = {
        "format": 1,
        "problem": {"kind": type(problem).__name__.lower(), **asdict(problem)},
        "extractor": serialise(learner.extractor),
        "head": serialise(learner.head),
        "input_shape": list(inputs.shape[1:]),
        "update_rule": serialise(rule.update_rule),
        "steps": rule.steps,
    }
    write_checkpoint(path / VARIABLES, named_values(_groups(method)), {"format": 1})
    write_json(path / MODEL, description)


def read_model(path: Path) -> tuple[Method, Problem]:
    """Reads a saved model.

    Raises:
      CheckpointError: if there is none, or it is damaged.
    """
    try:
        text = (path / MODEL).read_text()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path} holds neither a run nor a saved model.") from error
    try:
        method, problem = _rebuild(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / MODEL} cannot be rebuilt: {error}") from error
    values, _ = read_checkpoint(path / VARIABLES)
    assign_values(_groups(method), values)
    return method, problem


def _rebuild(description: dict[str, Any]) -> tuple[Method, Problem]:
    restore = keras.saving.deserialize_keras_object
    kind = description["problem"].pop("kind")
    problem = _PROBLEMS[kind](**description["problem"])
    learner = Learner(
        restore(description["extractor"]), restore(description["head"]), input_shape=tuple(description["input_shape"])
    )
    rule = GradientDescent(problem, restore(description["update_rule"]), description["steps"])
    return Method(learner, rule, [QueryLoss(problem)]), problem


def _groups(method: Method) -> dict[str, Any]:
    """The learner's and the rule's variables, without any term's."""
    terms = {term.name for term in method.terms}
    return {group: variables for group, variables in method.all_variables().items() if group not in terms}
