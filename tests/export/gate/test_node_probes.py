"""What the parity gate asks a model on nodes, and that the saved model answers it as told."""

from __future__ import annotations

import numpy as np

from export import status
from export.gate.expectation import probes
from export.gate.query_dependence import query_dependence
from export.gate.reference import Reference
from export.gate.warm_up import warm_up_requests
from export.requests.form import Bucket


def test_every_fault_of_a_graph_is_probed_and_answered(nodes):
    reference = Reference(nodes.model, nodes.module.fingerprint)
    warm_up = warm_up_requests(nodes.model, [Bucket(4, 3)], reference)
    told = set()
    for request, expected in probes(nodes.model, warm_up, reference):
        answer = nodes(request.signature, **request.inputs)
        assert answer.keys() == expected.values.keys()
        for name, value in expected.values.items():
            assert (np.abs(answer[name] - value) <= expected.tolerances.get(name, 0)).all(), (request.signature, name)
        told.add((request.signature, answer["status"].tolist()[-1]))
    whole = {status.OK, status.SIZE, status.NODE_OUT_OF_RANGE, status.NON_FINITE_INPUT, status.LABEL_OUT_OF_RANGE}
    assert told >= {("adapt_and_predict_padded", code) for code in whole}
    assert told >= {("predict", code) for code in (status.STATE_OF_ANOTHER_MODEL, status.NODE_OUT_OF_RANGE)}
    queries = query_dependence(nodes.model, warm_up, reference)
    assert queries["predictions_depend_on_other_queries"] is False
