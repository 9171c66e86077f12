"""What a method answers, checked against its problem before anything is trained, adapted or exported.

Heads and co-learners must give `[examples, outputs]`, and for classification logits: probabilities would go through a
softmax a second time, so that no class could ever get more than `e / (e + ways - 1)`. They are known by what comes of
random features and random weights, whichever layer or function makes them: values that never leave [0, 1].
`log_softmax` is welcome: its values are logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.boundary.arrays import one_line
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters
from cml_tf.problems import Classification, Problem, Regression
from cml_tf.training.method import Method

_EXAMPLES = 7
_DRAWS = 3
# So wide that what is not held in [0, 1] leaves it.
_SPREAD = 3.0
# By which half precision may miss 0 and 1.
_ROUNDING = 1e-2


def check_answers(method: Method, problem: Problem) -> None:
    """Checks that all parts are of one problem, and the outputs of the head and of every term that scores outputs.

    Rules that do not answer through the head are left alone: what they need of it is their own affair.

    Raises:
      UserError: naming the part, what was expected and what was received.
    """
    for owner in (method.rule, *method.terms):
        own = getattr(owner, "problem", problem)
        if isinstance(own, (Classification, Regression)) and own != problem:
            raise UserError(
                f"{type(owner).__name__} must be for {problem} like the rest of the method, received {own}."
            )
    if not method.rule.answers_through_head:
        return
    generator = np.random.default_rng(0)
    drawn = [_answers(method, generator) for _ in range(_DRAWS)]
    for part, answer in drawn[0].items():
        _check_shape(part, answer, problem)
        if isinstance(problem, Classification):
            _check_logits(part, np.stack([tf.cast(answers[part], tf.float32) for answers in drawn]))


def _check_shape(part: str, answer: Any, problem: Problem) -> None:
    shape = list(getattr(answer, "shape", ()))
    if shape == [_EXAMPLES, problem.outputs]:
        return
    axes = ["examples", *shape[1:]] if shape[:1] == [_EXAMPLES] else shape
    flatter = "" if len(axes) == 2 else "pool or flatten, and "
    raise UserError(
        f"the {part} must output [examples, {problem.outputs}] for {problem}, received [{', '.join(map(str, axes))}]: "
        f"{flatter}end it with a layer of {problem.outputs} units."
    )


def _check_logits(part: str, values: np.ndarray) -> None:
    if (values >= -_ROUNDING).all() and (values <= 1 + _ROUNDING).all():
        raise UserError(
            f"the {part} must output logits for classification, received values that are always from 0 to 1 (softmax, "
            "sigmoid): remove that activation."
        )


def _answers(method: Method, generator: np.random.Generator) -> dict[str, Any]:
    """The outputs of each part for random examples under random weights."""
    head = method.learner.head
    part = f"head {head.name!r}"
    try:
        features, outputs = _forward(method.learner, generator)
        several = tf.nest.is_nested(outputs)
        flat = enumerate(tf.nest.flatten(outputs))
        answers = {f"{part}, output {position}" if several else part: output for position, output in flat}
        for term in method.terms:
            part = f"term {term.name!r}"
            try:
                answers[part] = term.read((features, outputs), _moved(term.variables, generator, _SPREAD))
            except NotImplementedError:
                continue
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise UserError(f"the {part} cannot answer {_EXAMPLES} examples: {one_line(error)}") from error
    return answers


def _forward(learner: Learner, generator: np.random.Generator) -> tuple[Any, Any]:
    """Features and outputs. A head with weights decides what its outputs are like; another hands on the extractor's."""
    parameters, state = learner.initial()
    if learner.variables.head:
        features = _random(learner.example_features, generator)
        weights = _moved(learner.variables.head, generator, _SPREAD)
        return features, learner.read(weights, state.head, features, False)[0]
    moved = Parameters(_moved(learner.variables.extractor, generator, _SPREAD / 30), parameters.head)
    inputs = _random(learner.example_inputs, generator)
    forward = learner.call(moved, state, inputs, learner.context, training=False)
    return forward.features, forward.outputs


def _random(structure: Any, generator: np.random.Generator) -> Any:
    """Random numbers in the place of floats; others, which may point to something, are those of the example again."""

    def one(leaf: Any) -> tf.Tensor:
        dtype = tf.as_dtype(leaf.dtype)
        if not dtype.is_floating:
            return tf.gather(leaf, np.arange(_EXAMPLES) % leaf.shape[0])
        return tf.cast(_SPREAD * generator.standard_normal((_EXAMPLES, *leaf.shape[1:])), dtype)

    return tf.nest.map_structure(one, structure)


def _moved(variables: Sequence[keras.Variable], generator: np.random.Generator, spread: float) -> tuple[tf.Tensor, ...]:
    """Values of variables with random numbers added."""
    return tuple(v + tf.cast(spread * generator.standard_normal(v.shape), v.dtype) for v in variables)
