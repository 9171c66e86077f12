"""Shape buckets: how they are named and written, and that a version with some passes the gate."""

from __future__ import annotations

import dataclasses
import json

import pytest

from export.errors import ExportError
from export.exporter import CARD, EXTRA, WARM_UP, Options, export_run
from export.graph.buckets import PARAMETERS, Service, read_buckets
from export.graph.specifications import input_specifications, output_specifications
from export.requests.files import read_requests
from export.requests.form import Bucket
from tests.export.served import image_model, wave_model


def test_each_bucket_has_signatures_of_its_sizes():
    model = dataclasses.replace(image_model(), buckets=(Bucket(6, 4), Bucket(6, 9)))
    specifications, plain = input_specifications(model), input_specifications(image_model())
    assert specifications.keys() - plain.keys() == {
        "adapt_and_predict_padded_6_4",
        "adapt_and_predict_padded_6_9",
        "adapt_and_predict_bytes_padded_6_4",
        "adapt_and_predict_bytes_padded_6_9",
        "adapt_padded_6",
        "predict_padded_4",
        "predict_padded_9",
    }
    assert output_specifications(model).keys() >= specifications.keys()
    sizes, images = {"support_size": [None], "query_size": [None]}, [16, 16, 1]
    for name, shapes in {
        "adapt_and_predict_padded_6_9": {
            "support_inputs": [None, 6, *images],
            "support_labels": [None, 6],
            "query_inputs": [None, 9, *images],
            **sizes,
        },
        "predict_padded_4": {
            "adapted_state": [None, None],
            "model_fingerprint": [None],
            "query_inputs": [None, 4, *images],
            "query_size": [None],
        },
    }.items():
        assert {key: spec.shape.as_list() for key, spec in specifications[name].items()} == shapes
    waves = input_specifications(dataclasses.replace(wave_model(), buckets=(Bucket(6, 4),)))
    assert waves["adapt_padded_6"]["support_targets"].shape.as_list() == [None, 6, 1]
    assert not any("bytes" in name for name in waves)


def test_flags_name_buckets_and_other_words_are_refused():
    assert read_buckets(["25_75", "5_1"]) == (Bucket(25, 75), Bucket(5, 1))
    assert read_buckets([]) == ()
    for written in ("25", "25x75", "0_5", "5_-1", "", "5_1_2", " 5_1"):
        with pytest.raises(ExportError, match="a bucket must be SUPPORT_QUERIES"):
            read_buckets(["5_1", written])


@pytest.mark.slow
def test_a_version_with_buckets_passes_the_gate_and_says_so(wave_run, tmp_path):
    service = Service(True, (Bucket(6, 9), Bucket(4, 9)))
    version = export_run(wave_run, tmp_path / "waves", Options(service=service))
    assert (version / PARAMETERS).is_file()
    card = json.loads((version / EXTRA / CARD).read_text())
    assert card["batching"] == {"buckets": [{"support": 6, "query": 9}, {"support": 4, "query": 9}]}
    assert card["limits"] == {"support_examples": 2**20, "queries": None}
    asked = [request.signature for request in read_requests(version / EXTRA / WARM_UP)]
    of_buckets = {name for name in card["signatures"] if name[-1].isdigit()}
    assert len(of_buckets) == 5 and all(asked.count(name) == 1 for name in of_buckets)
    queries = [request.inputs.get("query_inputs") for request in read_requests(version / EXTRA / WARM_UP)][-5:]
    assert {array.shape[1] for array in queries if array is not None} == {9}
