"""Image files of a task: nothing is made of refused ones, for a file takes bytes where an image takes kilobytes."""

import dataclasses

import numpy as np
import pytest

from export import status
from export.graph.exportable import Limits
from tests.export import served as tiny
from tests.export.served import in_process
from tests.helpers.drawn_images import encoded
from tests.helpers.memory import growth

FILE = encoded(np.zeros((16, 16, 1), np.uint8))
MANY = 400_000


@pytest.fixture(scope="module")
def served():
    limits = Limits(support=6, queries=None, query_files=30)
    return in_process(dataclasses.replace(tiny.flat_model(steps=1), limits=limits, query_blocks=True))


def inputs(support=3, queries=1, content=FILE):
    return {
        "support_inputs_bytes": np.full((1, support), content, object),
        "support_labels": np.arange(support, dtype=np.int32)[np.newaxis] % 3,
        "query_inputs_bytes": np.full((1, queries), content, object),
    }


def spoilt():
    """As many as there may be, of which the last one is damaged."""
    sent = inputs(queries=30)
    sent["query_inputs_bytes"][0, -1] = b""
    return sent


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (inputs(queries=30), status.OK),
        (spoilt(), status.NON_FINITE_INPUT),
        # A damaged file that was looked at would be another fault, but this one precedes.
        (inputs(queries=31, content=b""), status.SIZE),
        (inputs(support=7, content=b""), status.SIZE),
    ],
)
def test_every_query_is_answered_also_in_a_task_at_fault(served, sent, code):
    answer = served("adapt_and_predict_bytes", **sent)
    rows = sent["query_inputs_bytes"].shape[1]
    assert (answer["status"].tolist(), answer["probabilities"].shape) == ([code], (1, rows, 3))
    np.testing.assert_allclose(answer["probabilities"].sum(-1), 1, rtol=1e-6)


def test_of_files_that_are_refused_no_image_is_made(served):
    """The images would take 410 MB, and joined with others as much again."""

    def refused():
        for sent in (inputs(queries=MANY, content=b""), inputs(support=MANY, content=b"")):
            assert served("adapt_and_predict_bytes", **sent)["status"].tolist() == [status.SIZE]

    assert growth(refused) < 200
