"""Whatever comes in, decoding gives an array that fits it or a ServingError: never another exception."""

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
from tests.helpers.memory import growth

_LARGEST = 10_000
_DTYPES = ["float32", "float64", "int8", "int32", "int64", "uint8", "uint64", "bool", "string", "float16"]
_few = settings(
    max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
_keys = st.text(max_size=4) | st.just("b64")
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=20,
)
_shapes = arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)
_array = arrays.arrays(st.sampled_from(["float32", "int32", "bool"]), _shapes)


class Recording:
    """Stands in for a loaded model: its signatures, and the inputs of the last call."""

    def __init__(self, **dtypes):
        definition = tf.compat.v1.saved_model.signature_def_utils.build_signature_def()
        for name, dtype in dtypes.items():
            definition.inputs[name].dtype = dtype
        definition.outputs["y"].dtype = types_pb2.DT_FLOAT
        self.signatures = {"serving_default": definition}

    def run(self, signature, inputs, outputs, timeout):
        self.inputs = dict(inputs)
        return {name: np.zeros([2], np.float32) for name in outputs}


def _tried(decode):
    """The value; None for a refusal with one of the codes that blame the request."""
    try:
        return decode()
    except ServingError as error:
        assert error.code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "FAILED_PRECONDITION")
        return None


def _same(one, other):
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=other.dtype.kind == "f")


@_few
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0123dDeE.+-NanIfity truefalsnl', max_size=60))
def test_any_bytes_are_json_or_refused(body):
    _tried(lambda: parse(body if isinstance(body, bytes) else body.encode()))


def test_a_long_string_takes_the_memory_of_its_text():
    """Those who look for brackets or `Inf` pass over a string without remembering each of its characters."""
    text = b"\\n" * 1_500_000
    for body in (b'["' + text + b'" 1]', b'["' + text + b'", Inf]', b'[Inf, "' + b'\\"' * 1_500_000):
        assert growth(lambda body=body: _tried(lambda: parse(body))) < 60


@pytest.mark.slow
@_few
@given(_json, _json, st.sampled_from(_DTYPES))
def test_any_json_is_parsed_as_it_was_and_is_an_array_or_refused(value, name, dtype):
    assert json.dumps(parse(json.dumps(value).encode()), sort_keys=True) == json.dumps(value, sort_keys=True)
    array = _tried(lambda: dense_array(value, tf.as_dtype(dtype).as_datatype_enum))
    assert array is None or array.dtype == (object if dtype == "string" else np.dtype(dtype))
    for document in (value, {"inputs": value}, {"instances": value}, {"signature_name": name, "inputs": [1]}):
        _tried(partial(predict_json, Recording(x=types_pb2.DT_FLOAT), json.dumps(document).encode(), 1.0))


@_few
@given(_array)
def test_arrays_pass_through_all_forms(array):
    content = tf.make_tensor_proto(array)
    for infos in ({"a": content.dtype}, {"a": content.dtype, "b": content.dtype}):
        rows = [dict.fromkeys(infos, row) for row in array.tolist()]
        for document in ({"inputs": dict.fromkeys(infos, array.tolist())}, {"instances": rows}):
            servable = Recording(**infos)
            predict_json(servable, json.dumps(document).encode(), 1.0)
            assert all(_same(servable.inputs[name], array) for name in infos)
    for text, key in ((column_text({"y": array}), "outputs"), (row_text({"y": array}), "predictions")):
        assert _same(np.array(json.loads(text)[key], array.dtype), array)
    field = {"f": "float_val", "i": "int_val", "b": "bool_val"}[array.dtype.kind]
    values = {field: array.reshape(-1).tolist(), "dtype": content.dtype, "tensor_shape": content.tensor_shape}
    for tensor in (content, tensor_pb2.TensorProto(**values)):
        servable = Recording(x=content.dtype)
        predict(servable, predict_pb2.PredictRequest(inputs={"x": tensor}), 1.0, _LARGEST)
        assert _same(servable.inputs["x"], array)


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
    servable, request = Recording(x=dtype), predict_pb2.PredictRequest(inputs={"x": tensor})
    if _tried(lambda: predict(servable, request, 1.0, _LARGEST)) is not None:
        array = servable.inputs["x"]
        assert list(array.shape) == shape and array.nbytes <= _LARGEST


# What no signature of the recorded exchanges takes; the array, or what the refusal names.
VALUES = [
    ("[[], []]", "int32", np.zeros([2, 0], np.int32)),
    ("7", "int32", np.int32(7)),
    ("[256, -1]", "uint8", np.uint8([0, 255])),
    ("[18446744073709551615]", "uint64", np.array([2**64 - 1], np.uint64)),
    (b'["\xff\xfe", {"b64": "/w"}]', "string", np.array([b"\xff\xfe", b"\xff"], object)),
    ("[1e308, 0.%s]" % ("9" * 400), "float64", np.float64([1e308, 1.0])),
    ("[-1]", "uint32", "JSON Value: -1 Type: Number is not of expected type: uint32"),
    ("[1]", "bool", "JSON Value: 1 Type: Number is not of expected type: bool"),
    ("[1.5]", "float16", "Conversion of JSON Value: 1.5 to type: half"),
    *((f"[{text}]", "float64", "Number too big") for text in ("9" * 309, "-1e309", "1" + "0" * 220 + "e99")),
]


@pytest.mark.parametrize(("text", "dtype", "expected"), VALUES)
def test_values_and_refusals_by_type(text, dtype, expected):
    decode = lambda: dense_array(  # noqa: E731
        parse(text if isinstance(text, bytes) else text.encode()), tf.as_dtype(dtype).as_datatype_enum
    )
    if isinstance(expected, str):
        with pytest.raises(ServingError, match=expected):
            decode()
    else:
        received = decode()
        assert received.shape == expected.shape and _same(received, expected)
