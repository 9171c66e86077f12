"""Bodies over REST that mean no good, and what the server must say to each."""

from __future__ import annotations

from typing import Any

WAVES = "/v1/models/waves:predict"
IMAGES = "/v1/models/images:predict"
NAN = float("nan")


def wave(**changed: Any) -> dict[str, Any]:
    """A request to the regression: one task of two support and one query examples; None leaves an input out."""
    inputs = {
        "support_inputs": [[[0.0], [1.0]]],
        "support_targets": [[[0.5], [1.0]]],
        "query_inputs": [[[2.0]]],
        **changed,
    }
    return {"inputs": {name: value for name, value in inputs.items() if value is not None}}


def picture(**changed: Any) -> dict[str, Any]:
    """A request to the classifier: one task of three support images and one query image."""
    image = [[[0.5]] * 16] * 16
    inputs = {
        "support_inputs": [[image] * 3],
        "support_labels": [[0, 1, 2]],
        "query_inputs": [[image]],
        **changed,
    }
    return {"inputs": {name: value for name, value in inputs.items() if value is not None}}


def padded(**changed: Any) -> dict[str, Any]:
    """A request with sizes to the regression."""
    request = wave(**{"support_size": [2], "query_size": [1], **changed})
    return {**request, "signature_name": "adapt_and_predict_padded"}


_LINE = "x" * 200
JSON_BODIES: list[tuple[str, bytes | str, int, str]] = [
    ("nothing", "", 400, "The document is empty"),
    ("white space", " \t\r\n ", 400, "The document is empty"),
    ("one zero byte", b"\0", 400, "Invalid value"),
    ("zero bytes", b"\0" * 1000, 400, "Invalid value"),
    ("bytes that are no UTF-8", b"\xff\xfe\xfd", 400, "Invalid value"),
    ("UTF-16", '{"inputs": [1]}'.encode("utf-16"), 400, "Invalid value"),
    ("overlong UTF-8 as key", b'{"\xc0\xaf": 1}', 400, "Missing 'inputs' or 'instances' key"),
    ("only a bracket", "{", 400, "Missing a name for object member"),
    ("only a quote", '"', 400, "Missing a closing quotation mark"),
    ("only a bracket of a list", "[", 400, "Invalid value"),
    ("cut in a key", '{"inp', 400, "Missing a closing quotation mark"),
    ("cut after a key", '{"inputs"', 400, "Missing a colon"),
    ("cut after the colon", '{"inputs":', 400, "Invalid value"),
    ("cut in a list", '{"inputs": [1, 2', 400, "Missing a comma or ']'"),
    ("cut in a number", '{"inputs": [1.', 400, "JSON Parse error"),
    ("cut in an exponent", '{"inputs": [1e', 400, "JSON Parse error"),
    ("cut in a literal", '{"inputs": [tru', 400, "Invalid value"),
    ("cut in an escape", '{"inputs": ["\\u12', 400, "Incorrect hex digit"),
    ("cut before the last bracket", '{"inputs": [1]', 400, "Missing a comma or '}'"),
    ("single quotes", "{'inputs': [1]}", 400, "Missing a name for object member"),
    ("comment", '{/* */ "inputs": [1]}', 400, "Missing a name for object member"),
    ("trailing comma", '{"inputs": [1],}', 400, "Missing a name for object member"),
    ("unquoted key", "{inputs: [1]}", 400, "Missing a name for object member"),
    ("hexadecimal", '{"inputs": [0x10]}', 400, "Missing a comma or ']'"),
    ("leading zero", '{"inputs": [01]}', 400, "Missing a comma or ']'"),
    ("plus sign", '{"inputs": [+1]}', 400, "Invalid value"),
    ("line break in a string", '{"inputs": ["a\nb"]}', 400, "Invalid encoding in string"),
    ("unknown escape", '{"inputs": ["\\x41"]}', 400, "Invalid escape character"),
    ("half a surrogate pair", '{"inputs": ["\\ud800"]}', 400, "surrogate pair"),
    ("deep lists", '{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}", 400, "nested too deeply"),
    ("deep lists without end", '{"inputs": ' + "[" * 1_000_000, 400, "nested too deeply"),
    ("deep objects", '{"a":' * 100_000, 400, "nested too deeply"),
    ("lists as deep as the parser goes", '{"inputs": ' + "[" * 900 + "]" * 900 + "}", 400, "nested 64 deep"),
    ("a list of such depth as document", "[" * 900 + "]" * 900, 400, "...]]]]"),
    ("a row of such depth", '{"instances": [1, ' + "[" * 900 + "]" * 900 + "]}", 400, "nested 64 deep"),
    ("a signature of such depth", '{"signature_name": ' + '{"a":' * 900 + "1" + "}" * 901, 400, "must be a string"),
    ("a leaf of such depth", '{"inputs": [1, ' + '{"a":' * 900 + "1" + "}" * 900 + "]}", 400, "Type: Object"),
    ("a number of a million digits", '{"inputs": [' + "9" * 1_000_000 + "]}", 400, "nested too deeply or a number"),
    ("a number of 4000 digits", '{"inputs": [' + "9" * 4000 + "]}", 400, "Number too big"),
    ("a fraction of 400 digits", '{"inputs": [' + "9" * 400 + ".5]}", 400, "Number too big"),
    ("a huge exponent", '{"inputs": [1e999999999]}', 400, "Number too big"),
    ("null", "null", 400, "Is not object"),
    ("a number", "1", 400, "Is not object"),
    ("a string", '"inputs"', 400, "Is not object"),
    ("a list", "[{}]", 400, "Is not object"),
    ("an empty object", "{}", 400, "Missing 'inputs' or 'instances' key"),
    ("keys in capitals", '{"INPUTS": [1]}', 400, "Missing 'inputs' or 'instances' key"),
    ("XML", "<?xml version='1.0'?><inputs/>", 400, "Invalid value"),
    ("a form", "inputs=1&signature_name=x", 400, "Invalid value"),
    ("inputs and instances", '{"inputs": [1], "instances": [1]}', 400, "expecting only one of"),
    ("inputs null", '{"inputs": null}', 400, "Type: Null is not of expected type: float"),
    ("inputs a string", '{"inputs": "1"}', 400, "Type: String is not of expected type: float"),
    ("inputs true", '{"inputs": true}', 400, "Type: True is not of expected type: float"),
    ("inputs an empty object", '{"inputs": {}}', 400, "Missing named input: x"),
    ("input of another name", '{"inputs": {"X": [1]}}', 400, "Missing named input: x"),
    ("input is an object", '{"inputs": {"x": {"y": 1}}}', 400, "Type: Object is not of expected type: float"),
    ("bytes for numbers", '{"inputs": {"b64": "AAAA"}}', 400, "Type: Object is not of expected type: float"),
    ("instances null", '{"instances": null}', 400, "Expecting 'instances' to be an list"),
    ("instances an object", '{"instances": {"x": [1]}}', 400, "Expecting 'instances' to be an list"),
    ("instances empty", '{"instances": []}', 400, "No values in 'instances' array"),
    ("rows of an empty object", '{"instances": [{}]}', 400, "keys must be equal to: x"),
    ("rows of other names", '{"instances": [{"y": 1}]}', 400, "does not have named input: y"),
    ("rows with more names", '{"instances": [{"x": 1, "y": 1}]}', 400, "does not have named input: y"),
    ("rows of both kinds", '{"instances": [{"x": 1}, 2]}', 400, "Expecting object but got list at item 1"),
    ("rows of both kinds, turned", '{"instances": [1, {"x": 2}]}', 400, "Expecting list but got object at item 1"),
    ("rows of other sizes", '{"instances": [[1], [1, 2]]}', 400, "Expecting tensor size: 1 but got: 2"),
    ("rows of null", '{"instances": [null]}', 400, "Type: Null is not of expected type: float"),
    ("ragged", '{"inputs": [[1], [1, 2]]}', 400, "Encountered list at unexpected size: 2"),
    ("a list beside a number", '{"inputs": [1, [2]]}', 400, "Encountered list at unexpected level"),
    ("a number beside a list", '{"inputs": [[1], 2]}', 400, "found at incorrect level"),
    ("a wrong rank for a guarded input", '{"signature_name": "guarded", "inputs": [[1]]}', 400, "not compatible"),
    ("signature null", '{"signature_name": null, "inputs": [1]}', 400, "must be a string value"),
    ("signature a number", '{"signature_name": 1, "inputs": [1]}', 400, "must be a string value"),
    ("signature a list", '{"signature_name": ["both"], "inputs": [1]}', 400, "must be a string value"),
    ("signature unknown", '{"signature_name": "no", "inputs": [1]}', 400, "not found in signature def"),
    ("signature with a path", '{"signature_name": "../../x", "inputs": [1]}', 400, "not found in signature def"),
    ("signature of a megabyte", f'{{"signature_name": "{_LINE * 5000}", "inputs": 1}}', 400, "not found in signature"),
    (
        "the signature that initialises",
        '{"signature_name": "__saved_model_init_op", "inputs": [1]}',
        400,
        "Failed to get input map",
    ),
    ("plain values for two inputs", '{"signature_name": "both", "inputs": [1]}', 400, "multiple input tensors"),
    ("plain rows for two inputs", '{"signature_name": "both", "instances": [1]}', 400, "multiple input tensors"),
    ("one of two inputs", '{"signature_name": "both", "inputs": {"a": [1]}}', 400, "Missing named input: b"),
    (
        "too large for int32",
        '{"signature_name": "both", "inputs": {"a": [1], "b": [2147483648]}}',
        400,
        "is not of expected type: int32",
    ),
    (
        "an exponent for int32",
        '{"signature_name": "both", "inputs": {"a": [1], "b": [1e3]}}',
        400,
        "is not of expected type: int32",
    ),
    ("NaN for int32", '{"signature_name": "both", "inputs": {"a": [1], "b": [NaN]}}', 400, "expected type: int32"),
    ("sizes that do not go together", '{"signature_name": "both", "inputs": {"a": [1], "b": [1]}}', 200, "sum"),
    (
        "sizes that do not fit",
        '{"signature_name": "both", "inputs": {"a": [1, 2], "b": [1, 2, 3]}}',
        400,
        "Incompatible shapes",
    ),
    ("numbers for text", '{"signature_name": "shout", "inputs": [1]}', 400, "is not of expected type: string"),
    ("no base64", '{"signature_name": "shout", "inputs": [{"b64": "?"}]}', 400, "Unable to base64 decode"),
    ("base64 a number", '{"signature_name": "shout", "inputs": [{"b64": 1}]}', 400, "expected type: string"),
    ("base64 cut off", '{"signature_name": "shout", "inputs": [{"b64": "A"}]}', 400, "Unable to base64 decode"),
    (
        "base64 beside another key",
        '{"signature_name": "shout", "inputs": [{"b64": "AA==", "c": 1}]}',
        400,
        "expected type: string",
    ),
]
FEW_SHOT: list[tuple[str, str, Any, int, str]] = [
    ("no support set", WAVES, wave(support_inputs=None), 400, "Missing named input: support_inputs"),
    ("no targets", WAVES, wave(support_targets=None), 400, "Missing named input: support_targets"),
    ("no query", WAVES, wave(query_inputs=None), 400, "Missing named input: query_inputs"),
    ("an empty list as support set", WAVES, wave(support_inputs=[]), 400, "not compatible with expected shape"),
    ("an empty list as query", WAVES, wave(query_inputs=[]), 400, "not compatible with expected shape"),
    ("an empty list in everything", WAVES, {"inputs": dict.fromkeys(wave()["inputs"], [])}, 400, "not compatible"),
    ("a task without support", WAVES, wave(support_inputs=[[]], support_targets=[[]]), 400, "not compatible"),
    ("a number as support set", WAVES, wave(support_inputs=1.0), 400, "not compatible with expected shape"),
    ("examples without axis", WAVES, wave(support_inputs=[[0.0, 1.0]]), 400, "not compatible with expected shape"),
    ("an axis too many", WAVES, wave(support_inputs=[[[[0.0]], [[1.0]]]]), 400, "not compatible"),
    ("examples of another width", WAVES, wave(query_inputs=[[[0.0, 1.0]]]), 400, "not compatible"),
    ("targets of another width", WAVES, wave(support_targets=[[[0.0, 1.0]] * 2]), 400, "not compatible"),
    ("more tasks of targets", WAVES, wave(support_targets=[[[0.0]] * 2] * 2), 400, "tasks"),
    ("more tasks of queries", WAVES, wave(query_inputs=[[[0.0]]] * 3), 400, "tasks"),
    ("fewer targets than examples", WAVES, wave(support_targets=[[[0.0]]]), 200, '"status": [4]'),
    ("more targets than examples", WAVES, wave(support_targets=[[[0.0]] * 3]), 200, '"status": [4]'),
    ("NaN in the support set", WAVES, wave(support_inputs=[[[NAN], [1.0]]]), 200, '"status": [3]'),
    ("NaN in the targets", WAVES, wave(support_targets=[[[NAN], [1.0]]]), 200, '"status": [3]'),
    ("NaN in the query", WAVES, wave(query_inputs=[[[NAN]]]), 200, '"status": [3]'),
    ("infinity in the query", WAVES, wave(query_inputs=[[[float("inf")]]]), 200, '"status": [3]'),
    ("minus infinity in the targets", WAVES, wave(support_targets=[[[float("-inf")], [1.0]]]), 200, '"status": [3]'),
    ("a double beyond float32", WAVES, wave(query_inputs=[[[1e39]]]), 200, '"status": [3]'),
    ("values that diverge", WAVES, wave(support_inputs=[[[3e38], [-3e38]]]), 200, '"status": [1]'),
    ("text in the support set", WAVES, wave(support_inputs=[[["0"], ["1"]]]), 400, "expected type: float"),
    ("rows with tasks of their own axis", WAVES, {"instances": [wave()["inputs"]]}, 400, "not compatible"),
    ("a size below zero", WAVES, padded(support_size=[-1]), 200, '"status": [4]'),
    ("a size of zero", WAVES, padded(support_size=[0]), 200, '"status": [4]'),
    ("a size beyond the rows", WAVES, padded(support_size=[3]), 200, '"status": [4]'),
    ("a query size below zero", WAVES, padded(query_size=[-(2**31)]), 200, '"status": [4]'),
    ("a query size beyond the rows", WAVES, padded(query_size=[2**31 - 1]), 200, '"status": [4]'),
    ("a size for two tasks", WAVES, padded(support_size=[1, 1]), 400, "tasks"),
    ("sizes without axis", WAVES, padded(support_size=1), 400, "not compatible with expected shape"),
    ("a fraction as size", WAVES, padded(support_size=[1.5]), 400, "expected type: int32"),
    ("no sizes", WAVES, {**wave(), "signature_name": "adapt_and_predict_padded"}, 400, "Missing named input"),
    (
        "a state of nothing",
        WAVES,
        {
            "signature_name": "predict",
            "inputs": {"adapted_state": [[]], "model_fingerprint": [0], "query_inputs": [[[0.0]]]},
        },
        200,
        '"status": [5]',
    ),
    (
        "an invented state",
        WAVES,
        {
            "signature_name": "predict",
            "inputs": {"adapted_state": [[0.0] * 97], "model_fingerprint": [1], "query_inputs": [[[0.0]]]},
        },
        200,
        '"status": [5]',
    ),
    ("a label beyond the ways", IMAGES, picture(support_labels=[[0, 1, 3]]), 200, '"status": [2]'),
    ("a label below zero", IMAGES, picture(support_labels=[[0, 1, -1]]), 200, '"status": [2]'),
    ("the smallest label there is", IMAGES, picture(support_labels=[[0, 1, -(2**31)]]), 200, '"status": [2]'),
    ("labels with an axis too many", IMAGES, picture(support_labels=[[[0], [1], [2]]]), 400, "not compatible"),
    ("labels as names", IMAGES, picture(support_labels=[["a", "b", "c"]]), 400, "expected type: int32"),
    ("labels as fractions", IMAGES, picture(support_labels=[[0.0, 1.0, 2.0]]), 400, "expected type: int32"),
    ("fewer labels than images", IMAGES, picture(support_labels=[[0, 1]]), 200, '"status": [4]'),
    ("an image of another size", IMAGES, picture(query_inputs=[[[[[0.5]] * 15] * 16]]), 400, "not compatible"),
    ("an image of three channels", IMAGES, picture(query_inputs=[[[[[0.5] * 3] * 16] * 16]]), 400, "not compatible"),
    ("an image without channels", IMAGES, picture(query_inputs=[[[[0.5] * 16] * 16]]), 400, "not compatible"),
    ("an image alone", IMAGES, picture(query_inputs=[[[0.5]] * 16] * 16), 400, "not compatible"),
    ("an empty list as images", IMAGES, picture(support_inputs=[]), 400, "not compatible"),
    ("NaN in an image", IMAGES, picture(query_inputs=[[[[[NAN]] * 16] * 16]]), 200, '"status": [3]'),
]
FILES = [
    ("no image", "AAAA"),
    ("an empty file", ""),
    ("the start of a PNG", "iVBORw0KGgo="),
    ("the start of a JPEG", "/9j/4AAQSkZJRg=="),
    ("a GIF", "R0lGODlhAQABAAAAACw="),
    ("a PNG that declares 2^31 pixels a side", "iVBORw0KGgoAAAANSUhEUn////9/////CAAAAAA="),
]
