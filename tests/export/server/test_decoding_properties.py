"""Whatever comes in, decoding gives an array that fits it or a ServingError: never another exception."""

from __future__ import annotations

import json
from functools import partial

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from export.server.errors import ServingError
from export.server.json_predict import dense_array
from export.server.json_predict import predict as predict_json
from export.server.json_text import column_text, parse, row_text
from export.server.prediction import predict

_LARGEST = 10_000
_DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]
_few = settings(
    max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.just("b64"), inner, max_size=3)
    ),
    max_leaves=20,
)
_array = arrays.arrays(
    st.sampled_from(["float32", "int32", "bool"]),
    arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4),
)


class Recording:
    """Stands in for a loaded model: its signatures, and the inputs of the last call."""

    def __init__(self, **dtypes):
        self.signatures = {"serving_default": _definition(dtypes)}
        self.inputs = None

    def run(self, signature, inputs, outputs, timeout):
        self.inputs = dict(inputs)
        return {name: np.zeros([2], np.float32) for name in outputs}


def _definition(dtypes):
    definition = tf.compat.v1.saved_model.signature_def_utils.build_signature_def()
    for name, dtype in dtypes.items():
        definition.inputs[name].dtype = dtype
    definition.outputs["y"].dtype = types_pb2.DT_FLOAT
    return definition


@_few
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0123dDeE.+-NanIfity truefalsnl', max_size=60))
def test_any_bytes_are_json_or_refused(body):
    _value_or_refusal(lambda: parse(body if isinstance(body, bytes) else body.encode()))


@_few
@given(_json)
def test_what_json_holds_is_parsed_as_it_was(value):
    assert _alike(parse(json.dumps(value).encode()), value)


@_few
@given(_json, st.sampled_from([*_DTYPES, "string", "float16"]))
def test_any_value_is_an_array_or_refused(value, dtype):
    array = _value_or_refusal(lambda: dense_array(value, tf.as_dtype(dtype).as_datatype_enum))
    if array is not None:
        assert isinstance(array, np.ndarray)
        assert array.dtype == (object if dtype == "string" else np.dtype(dtype))


@_few
@given(_json, _json)
def test_any_body_is_answered_or_refused(inputs, name):
    for document in (inputs, {"inputs": inputs}, {"instances": inputs}, {"signature_name": name, "inputs": [1]}):
        body = json.dumps(document).encode()
        _value_or_refusal(partial(predict_json, Recording(x=types_pb2.DT_FLOAT), body, 1.0))


@_few
@given(_array)
def test_rows_and_columns_hold_the_same_and_what_is_written_reads_back(array):
    dtype = tf.as_dtype(array.dtype).as_datatype_enum
    for infos in ({"a": dtype}, {"a": dtype, "b": dtype}):
        columns = dict.fromkeys(infos, array.tolist())
        rows = [dict.fromkeys(infos, row) for row in array.tolist()]
        for document in ({"inputs": columns}, {"instances": rows}):
            servable = Recording(**infos)
            predict_json(servable, json.dumps(document).encode(), 1.0)
            assert all(_same(servable.inputs[name], array) for name in infos)
    for text, key in ((column_text({"y": array}), "outputs"), (row_text({"y": array}), "predictions")):
        assert _same(np.array(json.loads(text)[key], array.dtype), array)


@_few
@given(
    st.integers(-1, 30) | st.sampled_from([100, 101, 999]),
    st.lists(st.integers(-2, 40) | st.sampled_from([2**31, 2**62, 2**63 - 1]), max_size=5),
    st.binary(max_size=40) | st.sampled_from([b"\0" * 4 * size for size in range(20)]),
    st.lists(st.floats(width=32), max_size=4),
    st.lists(st.binary(max_size=4), max_size=3),
)
def test_any_tensor_is_an_array_of_its_shape_or_refused(dtype, shape, content, floats, strings):
    tensor = tensor_pb2.TensorProto(dtype=dtype, tensor_content=content, float_val=floats, string_val=strings)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    request = predict_pb2.PredictRequest(inputs={"x": tensor})
    servable = Recording(x=dtype)
    if _value_or_refusal(lambda: predict(servable, request, 1.0, _LARGEST)) is not None:
        array = servable.inputs["x"]
        assert list(array.shape) == shape and array.nbytes <= _LARGEST


@_few
@given(_array)
def test_tensors_pass_through_in_both_forms(array):
    content = tf.make_tensor_proto(array)
    field = {"f": "float_val", "i": "int_val", "b": "bool_val"}[array.dtype.kind]
    values = {field: array.reshape(-1).tolist(), "dtype": content.dtype, "tensor_shape": content.tensor_shape}
    for tensor in (content, tensor_pb2.TensorProto(**values)):
        servable = Recording(x=content.dtype)
        predict(servable, predict_pb2.PredictRequest(inputs={"x": tensor}), 1.0, _LARGEST)
        assert _same(servable.inputs["x"], array)


@_few
@given(st.binary(max_size=100))
def test_any_message_is_a_request_or_unreadable(message):
    request = predict_pb2.PredictRequest()
    try:
        request.MergeFromString(message)
    except Exception as error:
        assert type(error).__name__ == "DecodeError"
    else:
        _value_or_refusal(lambda: predict(Recording(x=1), request, 1.0, _LARGEST))


def test_numbers_at_the_edge_of_a_double():
    for text in ("1e308", "-1e308", "1" + "0" * 307, "0." + "9" * 400):
        assert dense_array(parse(f"[{text}]".encode()), types_pb2.DT_DOUBLE).tolist() == [float(text)]
    for text in ("9" * 309, "1e309", "-1e309", "1e+0400", "9" * 400 + ".0", "1" + "0" * 220 + "e99"):
        with pytest.raises(ServingError, match="Number too big"):
            dense_array(parse(f"[{text}]".encode()), types_pb2.DT_DOUBLE)


def _value_or_refusal(decode):
    """The value; None for a refusal with one of the codes that blame the request."""
    try:
        return decode()
    except ServingError as error:
        assert error.code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "FAILED_PRECONDITION")
        return None


def _same(one, other):
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=other.dtype.kind == "f")


def _alike(one, other):
    """Equality in which NaN is itself, and numbers are not booleans."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
