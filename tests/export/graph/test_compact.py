"""Compact states: how far a decoded one is off, what is exact, and what is refused."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, KernelRidge, anil
from cml_tf.learners import mlp
from cml_tf.learners.nodes import gcn
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.method import Method
from export import status
from export.errors import ExportError
from export.graph.bounds import Bounds
from export.graph.buckets import Service
from export.graph.compact import CompactStates
from export.graph.exportable import Exportable
from tests.export.served import (
    FEATURES,
    NODE_WAYS,
    exportable,
    flat_model,
    free_model,
    in_process,
    inputs_of,
    judged_model,
    node_model,
    query_only,
    state_of,
    support_only,
)

SIZES = (5, 1, 300)
COMPACT = ("compact_state_bytes", "compact_scales", "model_fingerprint")


def decoded(states, difference):
    made = states.encode(tf.constant(difference, tf.float32))
    sent = states.sent(made)
    found, fits = states.decode(sent)
    scales = 0 if made.scales is None else len(made.scales)
    assert bool(fits) and len(sent["compact_state_bytes"].numpy()) + 4 * scales == states.bytes
    return found.numpy(), sent


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_what_is_decoded_is_near(size):
    difference = (size * np.random.default_rng(0).standard_normal(sum(SIZES))).astype(np.float32)
    found, sent = decoded(CompactStates("float16", SIZES), difference)
    assert (np.abs(found - difference) <= np.maximum(2.0**-11 * np.abs(difference), 2.0**-25)).all()
    np.testing.assert_array_equal(np.frombuffer(sent["compact_state_bytes"].numpy(), "<f2"), difference.astype("<f2"))
    found, sent = decoded(CompactStates("int8", SIZES), difference)
    whole = np.frombuffer(sent["compact_state_bytes"].numpy(), np.int8)
    for piece, near, tensor, scale in zip(
        *(np.split(array, np.cumsum(SIZES)[:-1]) for array in (difference, found, whole)),
        sent["compact_scales"].numpy(),
        strict=True,
    ):
        largest = np.abs(piece).max()
        assert scale == pytest.approx(largest / 127, rel=1e-6) and np.abs(tensor).max() == 127
        # Half a step, and what float32 rounds.
        assert (np.abs(near - piece) <= largest * (0.5 / 127 + 1e-6)).all()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_zero_is_exact_and_so_is_a_tensor_that_did_not_move(dtype):
    states = CompactStates(dtype, SIZES)
    difference = np.zeros(sum(SIZES), np.float32)
    assert not decoded(states, difference)[0].any()
    difference[-300:] = np.random.default_rng(0).standard_normal(300)
    assert not decoded(states, difference)[0][:6].any()
    assert states.bytes == {"float16": 612, "int8": 306 + 12}[dtype]


def test_a_difference_beyond_half_precision_is_not_finite():
    assert not bool(CompactStates("float16", (2,)).encode(tf.constant([1.0, 7e4])).finite)
    assert bool(CompactStates("int8", (2,)).encode(tf.constant([1.0, 7e4])).finite)
    assert not bool(CompactStates("int8", (2,)).encode(tf.constant([1.0, np.inf])).finite)


MODELS = {
    "images": lambda: flat_model("support"),
    "images of any ways": free_model,
    "nodes": lambda: node_model(gcn(NODE_WAYS, FEATURES, (6,)), steps=1),
    "ANIL": lambda: exportable(mlp(3, (2,), hidden=(4, 4)), Classification(3), anil(SGD(0.3)), 1),
    "images with confidence": judged_model,
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("images", "int8"),
        ("images of any ways", "float16"),
        ("nodes", "float16"),
        ("ANIL", "int8"),
        ("images with confidence", "float16"),
    ],
)
def test_a_compact_state_answers_nearly_as_the_whole_one_and_no_steps_exactly(name, dtype):
    served = in_process(dataclasses.replace(MODELS[name](), state=dtype))
    inputs = inputs_of(served.model, tasks=2)
    labels, queries = inputs["support_labels"], query_only(inputs)
    small = served("adapt_compact", **support_only(inputs))
    assert small["status"].tolist() == [status.OK] * 2
    assert small["model_fingerprint"].tolist() == [served.module.fingerprint] * 2
    state, form = {key: small[key] for key in COMPACT if key in small}, served.model.form
    answer = served("predict_compact", **state, **queries)["probabilities"]
    # Statistics that a task carries are no small differences, so they lose the most.
    off = (2e-2, 2e-3) if "images" in name else (2e-3, 1e-4)
    for task in range(2):
        expected, there = served.adapted(inputs, task).predict(inputs[form.query][task]), np.unique(labels[task])
        np.testing.assert_allclose(answer[task][:, there], expected, rtol=0, atol=off[dtype != "int8"])
        assert np.abs(answer[task][:, there] - expected).max() > 1e-7
        np.testing.assert_array_equal(np.delete(answer[task], there, 1), 0)
        for key, steps in (("support_loss_before", 0), ("support_loss_after", None)):
            right = served.adapted(inputs, task, steps).predict(inputs[form.support][task])
            right = right[np.arange(len(right)), labels[task]]
            np.testing.assert_allclose(small[key][task], -np.log(right).mean(), rtol=1e-5, atol=1e-6)
    sizes = served.model.compact.sizes
    assert {len(content) for content in small["compact_state_bytes"]} == {sum(sizes) * (1 if dtype == "int8" else 2)}


@pytest.fixture(scope="module", params=["float16", "int8"])
def compact(request):
    """With either kind of states, and steps that may be asked for."""
    return in_process(dataclasses.replace(flat_model(steps=1), state=request.param, bounds=Bounds(1)))


def test_no_steps_leave_the_initial_state_bit_for_bit(compact):
    served, inputs = compact, inputs_of(compact.model)
    pace = {"steps": np.zeros(1, np.int32), "rate": -np.ones(1, np.float32)}
    found = served("adapt_bounded", **support_only(inputs), **pace)
    assert "adapted_state" not in found
    state = {key: found[key] for key in COMPACT if key in found}
    assert not any(state["compact_state_bytes"][0])
    initial = state_of(served("initial_state", **support_only(inputs)))
    before = served("predict", **initial, **query_only(inputs))
    after = served("predict_compact", **state, **query_only(inputs))
    np.testing.assert_array_equal(after["probabilities"], before["probabilities"])


def test_whatever_is_sent_gets_a_status(compact):
    served, dtype, inputs = compact, compact.model.state, inputs_of(compact.model, tasks=2)
    made, queries = served("adapt_compact", **support_only(inputs)), query_only(inputs)
    state = {key: made[key] for key in COMPACT if key in made}
    healthy = served("predict_compact", **state, **queries)["probabilities"][0]
    content = state["compact_state_bytes"][1]
    wrong = [(bad, status.STATE_OF_ANOTHER_MODEL) for bad in (b"", content[:-1], content + b"\0", b"x" * 10_000)]
    wrong += [(b"\xff\x7f" + content[2:], status.NON_FINITE_INPUT)] if dtype == "float16" else []
    for bad, code in wrong:
        spoilt = {**state, "compact_state_bytes": np.array([content, bad], object)}
        spoilt["compact_state_bytes"][0] = state["compact_state_bytes"][0]
        found = served("predict_compact", **spoilt, **queries)
        assert found["status"].tolist() == [status.OK, code], bad[:10]
        np.testing.assert_array_equal(found["probabilities"][0], healthy)
        np.testing.assert_allclose(found["probabilities"][1], 1 / 3, rtol=1e-6)
    if dtype == "int8":
        scales = state["compact_scales"]
        for bad in (scales[:, :-1], np.zeros((2, 0), np.float32)):
            found = served("predict_compact", **{**state, "compact_scales": bad}, **queries)
            assert found["status"].tolist() == [status.STATE_OF_ANOTHER_MODEL] * 2
        spoilt = scales.copy()
        spoilt[1, 0] = np.nan
        found = served("predict_compact", **{**state, "compact_scales": spoilt}, **queries)
        assert found["status"].tolist() == [status.OK, status.NON_FINITE_INPUT]
    # A task that failed has a state of nothing, which no model takes.
    inputs["support_labels"][1, 0] = 9
    failed = served("adapt_compact", **support_only(inputs))
    assert failed["status"].tolist() == [status.OK, status.LABEL_OUT_OF_RANGE]
    assert failed["model_fingerprint"][1] == 0 and not any(failed["compact_state_bytes"][1])


def _growing():
    problem = Classification(3)
    method = Method.of(mlp(3, (2,), hidden=(4,)), KernelRidge(problem), [QueryLoss(problem)])
    return Exportable(method, problem, (0.0, 1.0), state="float16")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_growing, "grow with the support set"),
        (lambda: dataclasses.replace(flat_model(), state="float8"), "state must be one of"),
        (lambda: dataclasses.replace(judged_model(), state="int8"), "confidence"),
        (lambda: Service(batching=True, state="int8"), "batching and bounds or compact"),
    ],
)
def test_states_that_cannot_be_are_refused(make, words):
    with pytest.raises(ExportError, match=words):
        make()
