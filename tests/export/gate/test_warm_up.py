"""Warm-up requests: one for each signature and bucket, in the format of the server, and answered without fault."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export.exporter import EXTRA, WARM_UP
from export.gate.reference import Reference
from export.gate.warm_up import shape_buckets, warm_up_requests
from export.graph.specifications import input_specifications
from export.requests.files import read_requests
from export.requests.form import Bucket


def test_records_are_what_the_server_parses(images):
    path = str(images.directory / EXTRA / WARM_UP)
    records = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path)]
    assert [record.WhichOneof("log_type") for record in records] == ["predict_log"] * 6
    requests = [record.predict_log.request for record in records]
    assert {request.model_spec.name for request in requests} == {"small"}
    assert {request.model_spec.signature_name for request in requests} == set(input_specifications(images.model))


def test_they_replay_and_equal_the_library(images, waves, nodes):
    for served in (images, waves, nodes):
        reference = Reference(served.model, served.module.fingerprint)
        requests = read_requests(served.directory / EXTRA / WARM_UP)
        assert len(requests) == len(input_specifications(served.model))
        for request in requests:
            answer, expected = served(request.signature, **request.inputs), reference.answer(request)
            assert set(answer) == set(expected)
            for key, value in expected.items():
                np.testing.assert_allclose(answer[key], value, rtol=1e-5, atol=1e-5, err_msg=f"{request[0]} {key}")
            assert not answer["status"].any()


def test_reading_gives_back_what_was_written(images):
    reference = Reference(images.model, images.module.fingerprint)
    written = warm_up_requests(images.model, [Bucket(3, 2)], reference)
    for first, second in zip(written, read_requests(images.directory / EXTRA / WARM_UP), strict=True):
        assert first.signature == second.signature
        np.testing.assert_equal(dict(first.inputs), dict(second.inputs))


def test_buckets_are_the_shapes_that_users_ask_for():
    assert shape_buckets(5, 5, 15) == [Bucket(5, 1), Bucket(5, 75), Bucket(25, 1), Bucket(25, 75)]
    assert shape_buckets(5, 1, 15) == [Bucket(5, 1), Bucket(5, 75)]
    assert shape_buckets(1, 10, 100) == [Bucket(10, 1), Bucket(10, 100)]
