"""What the parity gate expects: the library's answers, within what rounding explains, and the stated faults."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.adaptation import SGD, anil
from cml_tf.learners import mlp
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.readouts import read_through
from cml_tf.training.method import Method
from export import status
from export.gate.expectation import expectation, probes
from export.gate.query_dependence import query_dependence
from export.gate.reference import Reference
from export.gate.warm_up import warm_up_requests
from export.graph.exportable import Exportable
from export.requests.files import Request
from export.requests.form import Bucket
from tests.export.served import WAYS, exportable, in_process, request
from tests.helpers.models import smooth_co_learner


def _told(served, bucket) -> list[tuple[str, int]]:
    """Signature and last status of each probe, which were answered as expected."""
    reference = Reference(served.model, served.module.fingerprint)
    told = []
    for call, expected in probes(served.model, warm_up_requests(served.model, [bucket], reference), reference):
        answer = served(call.signature, **call.inputs)
        assert answer.keys() == expected.values.keys()
        for key, value in expected.values.items():
            assert (np.abs(answer[key] - value) <= expected.tolerances.get(key, 0)).all(), (call.signature, key)
        told.append((call.signature, answer["status"].tolist()[-1]))
    return told


@pytest.mark.parametrize(("name", "cases"), [("images", 8), ("waves", 7)])
def test_every_fault_is_answered_as_expected(name, cases, request):
    assert len(_told(request.getfixturevalue(name), Bucket(WAYS, 2))) == cases


def test_every_fault_of_a_graph_is_probed_and_answered(nodes):
    told = set(_told(nodes, Bucket(4, 3)))
    whole = {status.OK, status.SIZE, status.NODE_OUT_OF_RANGE, status.NON_FINITE_INPUT, status.LABEL_OUT_OF_RANGE}
    assert told >= {("adapt_and_predict_padded", code) for code in whole}
    assert told >= {("predict", code) for code in (status.STATE_OF_ANOTHER_MODEL, status.NODE_OUT_OF_RANGE)}
    reference = Reference(nodes.model, nodes.module.fingerprint)
    queries = query_dependence(nodes.model, warm_up_requests(nodes.model, [Bucket(4, 3)], reference), reference)
    assert queries["predictions_depend_on_other_queries"] is False


def test_a_model_that_adapts_nothing_can_be_served():
    """ANIL moves the head alone, CML-dagger all but the head."""
    problem = Classification(WAYS)
    learner = exportable(mlp(WAYS, (2,), hidden=(4, 4)), problem, SGD(0.1), 1).learner
    rule = exportable(learner, problem, anil(SGD(0.1)), 1).rule
    method = Method.of(learner, rule, [QueryLoss(problem), CoLearner(smooth_co_learner(problem).layer, problem)])
    served = in_process(Exportable(read_through(method, problem, "co_learner"), problem, (0.0, 1.0)))
    assert served.model.state_size(0) == 0
    _told(served, Bucket(WAYS, 2))


def test_tolerances_leave_no_room_for_mistakes(images, waves):
    for served in (images, waves):
        reference = Reference(served.model, served.module.fingerprint)
        call = Request("serving_default", request(served.model))
        expected = expectation(served.model, reference, call)
        assert set(expected.tolerances) == set(expected.values) - {"status"}
        for key, tolerance in expected.tolerances.items():
            assert (tolerance >= 1e-5).all()
            assert (tolerance < 3e-4 * (1 + np.abs(expected.values[key]))).all(), key
