"""What answers, if it is more than the head: its numbers are in the graph."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.readouts.confidence import belonging_to
from cml_tf.training.method import Method
from export.errors import ExportError
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule
from tests.export import served as tiny
from tests.helpers.toy_terms import Tempered


def tempered():
    """The small classifier, whose outputs a temperature divides; and without."""
    plain = dataclasses.replace(tiny.small_model(), state="float32")
    method = Method.of(plain.learner, plain.rule, [Tempered(plain.problem)])
    method.terms[0].variables[0].assign(2.5)
    return plain, method


def request(inputs=2, ways=tiny.WAYS):
    random = np.random.default_rng(0)
    support, query = (random.normal(size=(1, rows, inputs)).astype("float32") for rows in (ways, 4))
    return {"support_inputs": support, "support_labels": np.arange(ways, dtype="int32")[None], "query_inputs": query}


def test_an_export_answers_through_the_variables_of_what_answers(tmp_path):
    plain, method = tempered()
    module = ServingModule(Exportable(method, plain.problem, plain.value_range))
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.function("serving_default")})
    # Later training does not reach what is served.
    method.terms[0].variables[0].assign(9.0)
    answer, bare = tf.saved_model.load(str(tmp_path)).signatures["serving_default"], tiny.in_process(plain)
    cold = bare("serving_default", **request())["probabilities"].astype(float) ** (1 / 2.5)
    hot = answer(**{name: tf.constant(value) for name, value in request().items()})["probabilities"]
    np.testing.assert_allclose(hot, cold / cold.sum(-1, keepdims=True), rtol=1e-5)
    assert module.digest == bare.module.digest, "adapted states are the same"


def test_a_confidence_is_that_of_one_temperature():
    plain, method = tempered()
    confidence = belonging_to(tiny.judged_model(None).confidence, method)
    Exportable(method, plain.problem, plain.value_range, confidence=confidence)
    method.terms[0].variables[0].assign(9.0)
    with pytest.raises(ExportError, match="the confidence must be of this very model"):
        Exportable(method, plain.problem, plain.value_range, confidence=confidence)


def test_frozen_variables_of_what_answers_are_refused():
    plain, method = tempered()
    method.terms[0].constants = (SimpleNamespace(),)
    with pytest.raises(ExportError, match="no frozen variables .* received 1 in Tempered: make them variables"):
        Exportable(method, plain.problem, plain.value_range)
