"""Saved models: a directory with `model.json` (layers, rule, problem) and `variables.npz`, tied to it by its SHA-256.

Layers are described by Keras' own serialisation and rebuilt in its safe mode: nothing in the files is executed. Layers
and rules of your own must be registered with `keras.saving.register_keras_serializable`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation import GradientDescent
from cml_tf.boundary.arrays import one_line
from cml_tf.errors import UserError
from cml_tf.learners.layer_state import settle_constants
from cml_tf.learners.learner import Learner
from cml_tf.learners.nodes import example_graph, node_features
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Problem, problem_from_json, problem_to_json
from cml_tf.readouts import answers_as_head, through_head
from cml_tf.system.files import parsed_json, write_json
from cml_tf.system.manifest import digest
from cml_tf.training.checkpoints import CheckpointError, assign_values, named_values, read_checkpoint, write_checkpoint
from cml_tf.training.method import Method

MODEL, VARIABLES = "model.json", "variables.npz"
# Raise when what the files hold changes its meaning.
FORMAT = 2


def write_model(path: Path, method: Method, problem: Problem, value_range: tuple[float, float] | None) -> None:
    """Writes the learner and the rule; terms are left out.

    Raises:
      UserError: if inputs are not a single tensor, a context other than a graph is used, the method answers with
        something else than the outputs of its head, or a part cannot be serialised.
    """
    learner, rule = method.learner, method.rule
    inputs, features = learner.example_inputs, node_features(learner)
    if not hasattr(inputs, "shape"):
        raise UserError(
            f"only learners with one input tensor can be saved, received inputs of type {type(inputs).__name__}: save "
            "a checkpoint of its variables instead."
        )
    if features is None and tf.nest.flatten(learner.context):
        raise UserError(
            "only learners without a context, or with a cml_tf graph, can be saved, received a context of "
            f"type {type(learner.context).__name__}: save a checkpoint of its variables instead."
        )
    answer = method.terms[0]
    if not answer.answers_through_head:
        raise UserError(
            f"only models that answer through the head that adapted (readouts {through_head()}) can be saved; this one "
            f"answers through {type(answer).__name__}. Load its run instead."
        )
    if not answers_as_head(method):
        raise UserError(
            "only models that answer with the outputs of their head, as they are, can be saved; "
            f"{type(answer).__name__} makes others of them, which a saved model does not hold. Load its run instead, "
            "or export it."
        )
    serialise = keras.saving.serialize_keras_object
    description = {
        "format": FORMAT,
        "problem": problem_to_json(problem),
        "extractor": serialise(learner.extractor),
        "head": serialise(learner.head),
        "input_shape": list(inputs.shape[1:]),
        "input_dtype": tf.as_dtype(inputs.dtype).name,
        "node_features": features,
        "value_range": value_range,
        "rule": serialise(rule),
    }
    write_checkpoint(path / VARIABLES, named_values(_groups(method)), {"format": FORMAT})
    # Last, and with what it belongs to: killed in between, another model's description may still be there.
    write_json(path / MODEL, {**description, "variables_sha256": digest((path / VARIABLES).read_bytes())})


def read_model(path: Path) -> tuple[Method, Problem, tuple[float, float] | None]:
    """Reads a saved model.

    Raises:
      CheckpointError: if there is none, it is damaged, or its two files are of different models.
    """
    try:
        content = (path / MODEL).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path} contains neither a run nor a saved model: check the path.") from error
    try:
        description = parsed_json(content)
        if description["format"] not in (1, FORMAT):
            raise UserError(f"its format must be {FORMAT}, received {description['format']!r}")
        method, problem = _rebuild(description)
        value_range = _range(description["value_range"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / MODEL} cannot be loaded: {one_line(error)}") from error
    values, _ = read_checkpoint(path / VARIABLES)
    # Models of before these came are not tied.
    if description.get("variables_sha256") not in (None, digest((path / VARIABLES).read_bytes())):
        raise CheckpointError(
            f"{path / VARIABLES} was not saved together with {path / MODEL}: saving was interrupted, or one of them "
            "was copied. Save the model again, or restore both from a copy."
        )
    assign_values(_groups(method), values)
    settle_constants(method.learner.extractor, method.learner.head)
    return method, problem, value_range


def _rebuild(description: dict[str, Any]) -> tuple[Method, Problem]:
    restore = keras.saving.deserialize_keras_object
    problem = problem_from_json(description["problem"])
    learner = Learner(
        restore(description["extractor"]),
        restore(description["head"]),
        # Models of before integers could be inputs do not have a dtype.
        **_example(
            description["input_shape"], description.get("input_dtype", "float32"), description.get("node_features")
        ),
    )
    rule = restore(description["rule"]) if "rule" in description else _rule_of_format_1(description)
    if not hasattr(rule, "adapt"):
        raise UserError(f"its rule must be an adaptation rule, received {type(rule).__name__}")
    return Method.of(learner, rule, [QueryLoss(problem)]), problem


def _rule_of_format_1(description: dict[str, Any]) -> GradientDescent:
    """The rule of a model that was saved when there was gradient descent alone."""
    kept = {name: description[name] for name in ("problem", "update_rule", "steps")}
    # Models of before these came do not have them.
    order = {"sharpness": description.get("sharpness", 0.0), "second_order": description.get("second_order", True)}
    return GradientDescent.from_config({**kept, **order})


def _example(input_shape: list[int], input_dtype: str, node_features: int | None) -> dict[str, Any]:
    """What a learner is built on."""
    if node_features is None and tf.as_dtype(input_dtype).is_floating:
        return {"input_shape": tuple(input_shape)}
    if node_features is None:
        return {"example_inputs": tf.zeros([2, *input_shape], input_dtype)}
    return {"example_inputs": tf.zeros([2], tf.int32), "context": example_graph(node_features)}


def _range(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = value
    return float(low), float(high)


def _groups(method: Method) -> dict[str, Any]:
    """The learner's and the rule's variables, without any term's."""
    groups = method.all_variables()
    return {name: groups[name] for name in ("learner", "adaptation", "learner_state") if name in groups}
