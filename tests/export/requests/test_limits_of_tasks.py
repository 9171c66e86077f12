"""More rows than an export allows get a status before they take memory; queries are answered block by block."""

import dataclasses

import numpy as np
import pytest

import export.graph.answering
from export import status
from export.errors import ExportError
from export.graph.buckets import PARAMETERS, PARAMETERS_TEXT, Service
from export.graph.exportable import Limits
from export.requests.form import Bucket
from tests.export import served as tiny
from tests.export.served import CLOSE, in_process, inputs_of, sizes_of, wave_model

LIMITS = Limits(support=6, queries=4, query_files=4)


@pytest.fixture(scope="module")
def limited():
    return in_process(dataclasses.replace(wave_model(), limits=LIMITS))


@pytest.mark.parametrize(("support", "query", "code"), [(6, 4, status.OK), (7, 4, status.SIZE), (6, 5, status.SIZE)])
def test_more_than_a_task_may_hold_is_a_fault_of_its_size(limited, support, query, code):
    inputs = inputs_of(limited.model, support=support, query=query)
    whole, adapted = limited("serving_default", **inputs), limited("adapt", **tiny.support_only(inputs))
    assert whole["status"].tolist() == [code] and whole["predictions"].shape == (1, query, 1)
    assert (whole["support_loss_before"] == 0).all() == (code != status.OK)
    assert adapted["status"].tolist() == [status.SIZE if support > 6 else status.OK]
    if support <= 6:
        later = limited("predict", **tiny.state_of(adapted), query_inputs=inputs["query_inputs"])
        assert later["status"].tolist() == [code] and later["predictions"].shape == (1, query, 1)


def test_padding_is_not_counted_and_neighbours_are_untouched(limited):
    inputs = inputs_of(limited.model, tasks=2, support=9, query=8)
    answer = limited("adapt_and_predict_padded", **inputs, **sizes_of(inputs, support_size=[6, 7], query_size=[4, 4]))
    assert answer["status"].tolist() == [status.OK, status.SIZE]
    alone = {name: array[:1, : 4 if name == "query_inputs" else 6] for name, array in inputs.items()}
    wanted = limited("serving_default", **alone)["predictions"]
    np.testing.assert_allclose(answer["predictions"][:1, :4], wanted, **CLOSE)
    assert not answer["predictions"][0, 4:].any()


def test_block_by_block_all_that_is_answered_is_the_same(judged, monkeypatch):
    monkeypatch.setattr(export.graph.answering, "_VALUES_IN_A_BLOCK", 0)
    monkeypatch.setattr(export.graph.answering, "_FEWEST_IN_A_BLOCK", 3)
    blocks = in_process(dataclasses.replace(judged.model, query_blocks=True))
    for queries in (0, 1, 3, 4, 10):
        inputs = inputs_of(blocks.model, tasks=2, query=queries)
        wanted, got = (served("serving_default", **inputs) for served in (judged, blocks))
        for name, array in wanted.items():
            np.testing.assert_allclose(got[name], array, **CLOSE, err_msg=name)


TRAINED = [Bucket(25, 75), Bucket(5, 1)]
# The service, the model, what it was trained with, whether queries are independent, and limits and query blocks.
DEFAULTS = [
    (Service(), tiny.image_model, TRAINED, False, Limits(*[2**20 // 256] * 3), False),
    (Service(), tiny.image_model, [Bucket(2000, 3000)], False, Limits(8000, 12000, 12000), False),
    (Service(), wave_model, TRAINED, True, Limits(2**20, None, 2**24), True),
    (Service(most_support=30, most_queries=80), wave_model, TRAINED, True, Limits(30, 80, 80), True),
]


def test_default_limits_fit_training_and_the_size_of_an_example(tmp_path):
    for service, model, trained, independent, limits, blocks in DEFAULTS:
        made = service.with_limits(model(), trained, independent_queries=independent)
        assert (made.limits, made.query_blocks) == (limits, blocks)
    assert not Service().with_limits(tiny.node_model(), TRAINED, independent_queries=True).query_blocks
    # Batching parameters are written only if asked for.
    Service().write(tmp_path)
    assert not list(tmp_path.iterdir())
    Service(True).write(tmp_path)
    assert (tmp_path / PARAMETERS).read_text() == PARAMETERS_TEXT


CONTRADICTIONS = [
    (lambda: Service(buckets=(Bucket(5, 5),)), "batching"),
    (lambda: Service(True, (Bucket(0, 5),)), r"\(0, 5\)"),
    (lambda: Service(True, (Bucket(5, 5), Bucket(5, 5))), "differ"),
    (lambda: Service(True).with_signatures(tiny.node_model(), []), "nodes"),
    (lambda: Service(most_support=24).with_limits(wave_model(), TRAINED, True), "most_support.* 25, .*24"),
    (lambda: Service(most_queries=1).with_limits(wave_model(), TRAINED, True), "most_queries.* 75"),
]


@pytest.mark.parametrize(("make", "message"), CONTRADICTIONS)
def test_what_contradicts_itself_is_refused(make, message):
    with pytest.raises(ExportError, match=message):
        make()
