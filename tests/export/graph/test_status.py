"""Faults in values: a status each, a blank answer, and no harm to neighbours."""

import numpy as np
import pytest

from export import status
from tests.export import served as tiny
from tests.export.served import CLOSE, NODES, WAYS, inputs_of, support_only

LARGEST, SMALLEST = 2**31 - 1, -(2**31)
NAN, LABEL, NODE = status.NON_FINITE_INPUT, status.LABEL_OUT_OF_RANGE, status.NODE_OUT_OF_RANGE
SIZE, DIVERGED, ANOTHER = status.SIZE, status.DIVERGED, status.STATE_OF_ANOTHER_MODEL
# What is put where into task 1, and the status that it gets; of several faults the first in precedence.
FAULTS = {
    "waves": [
        *(({name: ((0, 0), np.nan)}, NAN) for name in ("support_targets", "query_inputs")),
        ({"support_inputs": ((0, 0), np.inf)}, NAN),
        ({"support_targets": ((0, 0), 1e30)}, DIVERGED),  # Beyond float32 when squared.
    ],
    "images": [
        ({"support_inputs": ((0,), np.nan)}, NAN),
        ({"query_inputs": ((2,), -np.inf)}, NAN),
        *(({"support_labels": ((4,), label)}, LABEL) for label in (WAYS, -1)),
        *(({"support_size": ((), size)}, SIZE) for size in (0, 7, SMALLEST)),
        *(({"query_size": ((), size)}, SIZE) for size in (5, -1)),
        ({"support_labels": ((0,), 9), "support_inputs": ((0,), np.nan)}, LABEL),
        ({"support_size": ((), 9), "support_labels": ((0,), 9)}, SIZE),
    ],
    "nodes": [
        ({"node_features": ((3, 2), np.nan)}, NAN),
        *(({"edges": ((5, 1), node)}, NODE) for node in (NODES, -1, LARGEST)),
        *(({"support_nodes": ((3,), node)}, NODE) for node in (NODES, SMALLEST)),
        *(({"query_nodes": ((1,), node)}, NODE) for node in (LARGEST, -1)),
        *(({"support_labels": ((2,), label)}, LABEL) for label in (tiny.NODE_WAYS, -1)),
        *(({"node_count": ((), count)}, SIZE) for count in (0, SMALLEST, NODES + 1)),
        ({"node_count": ((), 2)}, NODE),
        *(({"edge_count": ((), count)}, SIZE) for count in (-1, LARGEST)),
        *(({name: ((), size)}, SIZE) for name, size in (("support_size", 0), ("query_size", 6))),
        ({"edge_count": ((), -1), "support_labels": ((0,), 9), "query_nodes": ((0,), -1)}, SIZE),
        ({"support_labels": ((0,), 9), "edges": ((0, 0), -1)}, LABEL),
        ({"node_features": ((0, 0), np.nan), "support_nodes": ((0,), -1)}, NODE),
        ({"node_features": ((), 3e38)}, DIVERGED),
    ],
}


def _spoilt(inputs, changes):
    inputs = {name: array.copy() for name, array in inputs.items()}
    for name, (index, value) in changes.items():
        inputs[name][(1, *index)] = value
    return inputs


@pytest.mark.parametrize("served", FAULTS, indirect=True)
def test_a_fault_blanks_its_task_and_leaves_its_neighbour_alone(served, request):
    blank = 1 / served.model.problem.outputs if served.model.classification else 0
    inputs = inputs_of(served.model, tasks=2)
    support, sizes = support_only(inputs), tiny.sizes_of(inputs)
    sizes["query_size"][1] = 3
    queries = {**tiny.query_only(inputs), **tiny.state_of(served("adapt", **support))}
    calls = {"adapt_and_predict_padded": {**inputs, **sizes}, "adapt": support, "predict": queries}
    healthy = {signature: served(signature, **call) for signature, call in calls.items()}
    for signature, call in calls.items():
        for changes, code in FAULTS[request.node.callspec.params["served"]]:
            if not changes.keys() <= call.keys() or (code == DIVERGED and signature == "predict"):
                continue
            answer = served(signature, **_spoilt(call, changes))
            assert answer["status"].tolist() == [status.OK, code], (signature, changes)
            for key in answer:
                np.testing.assert_array_equal(answer[key][0], healthy[signature][key][0], err_msg=key)
                assert np.isfinite(answer[key]).all()
            if signature == "adapt":
                assert not answer["adapted_state"][1].any() and not answer["model_fingerprint"][1]
            elif code != DIVERGED:
                # A query_size that was never sent leaves no padding.
                row = answer[served.output][1]
                rows = 3 if "query_size" in call and "query_size" not in changes else len(row)
                np.testing.assert_allclose(row[:rows], blank)
                np.testing.assert_array_equal(row[rows:], 0)
            assert not any(answer[key][1] for key in answer if key.startswith("support_loss"))


def test_divergence_falls_back_on_the_unadapted_model(waves):
    for served in (tiny.in_process(tiny.flat_model("support", steps=2, rate=1e30)), waves):
        inputs = inputs_of(served.model)
        if served is waves:
            inputs["support_targets"][0, 0] = 1e30
        answer, adapted = served("serving_default", **inputs), served("adapt", **support_only(inputs))
        assert answer["status"].tolist() == adapted["status"].tolist() == [DIVERGED]
        expected = served.adapted(inputs, steps=0).predict(inputs["query_inputs"][0])
        np.testing.assert_allclose(answer[served.output][0], expected, **CLOSE)
        # What a failed task left cannot be used on.
        predicted = served("predict", **tiny.state_of(adapted), query_inputs=inputs["query_inputs"])
        assert predicted["status"].tolist() == [ANOTHER]


def test_empty_and_mismatched_support_and_no_nodes_are_size_faults(served):
    examples, target = served.model.form.support, served.model.target_name
    inputs = inputs_of(served.model, tasks=2)
    spoilt = []
    for support, targets in [(0, 0), (4, 3), (3, 4), (4, 1), (1, 4), (0, 4), (4, 0)]:
        cut = {examples: inputs[examples][:, :support], target: inputs[target][:, :targets]}
        spoilt.append(({**inputs, **cut}, min(support, 1)))
    if "edges" in inputs:
        spoilt.append(({**inputs, "node_features": inputs["node_features"][:, :0]}, 1))
    for given, size in spoilt:
        padded = {**given, **tiny.sizes_of(given, support_size=[size] * 2)}
        calls = {"serving_default": given, "adapt": support_only(given), "adapt_and_predict_padded": padded}
        for signature, call in calls.items():
            answer = served(signature, **call)
            assert answer["status"].tolist() == [SIZE] * 2, (signature, given)
            assert all(np.isfinite(value).all() for value in answer.values())


def test_states_of_another_model_and_such_as_are_not_finite(images, waves):
    for served, value, code in ((images, np.nan, NAN), (waves, 3e38, DIVERGED)):
        inputs = inputs_of(served.model, tasks=2)
        state, queries = tiny.state_of(served("adapt", **support_only(inputs))), tiny.query_only(inputs)
        blank = 1 / WAYS if served is images else 0
        other = {**state, "model_fingerprint": state["model_fingerprint"] ^ np.array([0, 1], np.int32)}
        spoilt = _spoilt(state, {"adapted_state": ((), value)})
        healthy = served("predict", **state, **queries)[served.output]
        for given, expected in ((other, ANOTHER), (spoilt, code)):
            answer = served("predict", **given, **queries)
            assert answer["status"].tolist() == [0, expected]
            np.testing.assert_allclose(answer[served.output][1], blank)
            np.testing.assert_array_equal(answer[served.output][0], healthy[0])
        for length in (0, served.model.state_size(0) - 1, served.model.state_size(0) + 1):
            given = {**state, "adapted_state": np.zeros((2, length), np.float32)}
            assert served("predict", **given, **queries)["status"].tolist() == [ANOTHER] * 2


def test_every_status_is_explained():
    codes = {value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)}
    assert codes == set(status.MEANINGS) == set(range(8))
    assert set(status.PRECEDENCE) == codes - {status.OK}


def test_whatever_is_sent_no_answer_is_nan_and_no_call_fails(served):
    generator = np.random.default_rng(0)
    strange = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0, 1e20], np.float32)
    whole = np.array([SMALLEST, -1, 0, 1, 2, 3, 6, NODES - 1, NODES, LARGEST], np.int32)
    seen = set()
    for seed in range(40):
        inputs = inputs_of(served.model, tasks=2, seed=seed)
        inputs = {**inputs, **tiny.sizes_of(inputs)}
        for array in inputs.values():
            # One value in ten calls of the first kind, most values in the others.
            spoilt = generator.random(array.shape) < generator.choice([0, 0, 0, 0.001, 0.5])
            values = generator.choice(whole if array.dtype.kind == "i" else strange[(seed % 3 > 0) * 3 :], array.shape)
            array[spoilt] = values[spoilt]
        answer = served("adapt_and_predict_padded", **inputs)
        state = tiny.state_of(served("adapt", **support_only(inputs)))
        predicted = served("predict", **state, **tiny.query_only(inputs))
        for outputs in (answer, state, predicted):
            assert all(np.isfinite(value).all() for value in outputs.values())
        seen |= set(answer["status"].tolist()) | set(predicted["status"].tolist())
    other = NODE if "edges" in inputs else LABEL if served.model.classification else DIVERGED
    assert seen >= {status.OK, NAN, SIZE, ANOTHER, other}
