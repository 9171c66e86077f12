"""What the parity gate expects: the library's answers, within what rounding explains, and the stated faults."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.adaptation import SGD, anil
from cml_tf.learners import mlp
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.readouts.readouts import read_through
from cml_tf.training.method import Method
from export.gate.expectation import expectation, probes
from export.gate.reference import Reference
from export.gate.warm_up import warm_up_requests
from export.graph.exportable import Exportable
from export.requests.files import Request
from export.requests.form import Bucket
from tests.export.served import WAYS, exportable, in_process, request
from tests.helpers.models import smooth_co_learner


def _agree(served) -> int:
    reference = Reference(served.model, served.module.fingerprint)
    cases = probes(served.model, warm_up_requests(served.model, [Bucket(WAYS, 2)], reference), reference)
    for call, expected in cases:
        answer = served(call.signature, **call.inputs)
        assert set(answer) == set(expected.values)
        for key, value in expected.values.items():
            off = np.abs(answer[key] - value)
            assert np.all(off <= expected.tolerances.get(key, 0)), (call.signature, key)
    return len(cases)


@pytest.mark.parametrize(("name", "cases"), [("images", 8), ("waves", 7)])
def test_every_fault_is_answered_as_expected(name, cases, request):
    assert _agree(request.getfixturevalue(name)) == cases


def test_a_model_that_adapts_nothing_can_be_served():
    """ANIL moves the head alone, CML-dagger all but the head."""
    problem = Classification(WAYS)
    learner = exportable(mlp(WAYS, (2,), hidden=(4, 4)), problem, SGD(0.1), 1).learner
    rule = exportable(learner, problem, anil(SGD(0.1)), 1).rule
    method = Method(learner, rule, [QueryLoss(problem), CoLearner(smooth_co_learner(problem).layer, problem)])
    served = in_process(Exportable(read_through(method, problem, "co_learner"), problem, (0.0, 1.0)))
    assert served.model.state_size(0) == 0
    _agree(served)


def test_tolerances_leave_no_room_for_mistakes(images, waves):
    for served in (images, waves):
        reference = Reference(served.model, served.module.fingerprint)
        call = Request("serving_default", request(served.model))
        expected = expectation(served.model, reference, call)
        assert set(expected.tolerances) == set(expected.values) - {"status"}
        for key, tolerance in expected.tolerances.items():
            assert (tolerance >= 1e-5).all()
            assert (tolerance < 3e-4 * (1 + np.abs(expected.values[key]))).all(), key
