"""The predict call over REST: from a JSON body to a JSON body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from export.server.errors import ServingError, invalid
from export.server.json_inputs import dense_array, is_bytes
from export.server.json_outputs import column_text, row_text
from export.server.json_text import debug_text, encoded, parse
from export.server.servable import DEFAULT_SIGNATURE, Arrays, Servable

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


def predict(servable: Servable, body: bytes, timeout: float) -> bytes:
    """Answers a request in row form (`instances`) or column form (`inputs`).

    Args:
      servable: that the request asks for.
      body: JSON.
      timeout: seconds.

    Raises:
      ServingError: for a body that does not fit the signature, or whatever the graph says against it.
    """
    document = parse(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {debug_text(document)} Is not object")
    signature = _signature(document)
    definition = servable.signatures.get(signature)
    if definition is None:
        raise invalid(f'Serving signature name: "{signature}" not found in signature def')
    if not definition.inputs:
        raise invalid(f"Failed to get input map for signature: {signature}")
    rows = "instances" in document
    if rows and "inputs" in document:
        raise invalid(
            f"JSON Value: {debug_text(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if not rows and "inputs" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    inputs = _rows(document, definition.inputs) if rows else _columns(document["inputs"], definition.inputs)
    answer = servable.run(signature, inputs, sorted(definition.outputs), timeout)
    return encoded(row_text(answer) if rows else column_text(answer))


def _signature(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {debug_text(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or DEFAULT_SIGNATURE


def _columns(value: Any, infos: TensorInfos) -> Arrays:
    if isinstance(value, dict) and not is_bytes(value):
        missing = [name for name in sorted(infos) if name not in value]
        if missing:
            raise invalid(f"Missing named input: {missing[0]} in 'inputs' object.")
        return {name: dense_array(value[name], info.dtype) for name, info in infos.items()}
    if len(infos) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    return {name: dense_array(value, info.dtype) for name, info in infos.items()}


def _rows(document: dict[str, Any], infos: TensorInfos) -> Arrays:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {debug_text(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {debug_text(document)} No values in 'instances' array")
    named = isinstance(rows[0], dict) and not _is_plain_object(rows[0])
    if not named and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    collected: dict[str, list[np.ndarray]] = {name: [] for name in infos}
    for index, row in enumerate(rows):
        if named != (isinstance(row, dict) and not _is_plain_object(row)):
            kinds = ("object", "list") if named else ("list", "object")
            raise invalid(f"Expecting {kinds[0]} but got {kinds[1]} at item {index} of input list")
        if named:
            _add_named_row(index, row, infos, collected)
        else:
            (name,) = infos
            _add(f"{index}", row, infos[name].dtype, collected[name])
    return {name: np.stack(arrays) for name, arrays in collected.items()}


def _is_plain_object(row: dict[str, Any]) -> bool:
    """Bytes are an object too, and no names of inputs."""
    return is_bytes(row)


def _add_named_row(index: int, row: dict[str, Any], infos: TensorInfos, collected: dict[str, list[np.ndarray]]) -> None:
    for name, value in row.items():
        where = f"{index} key: {name}"
        if name not in infos:
            raise _at(where, invalid(f"JSON object: does not have named input: {name}"))
        _add(where, value, infos[name].dtype, collected[name])
    if len(row) != len(infos):
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {debug_text(row)} keys must be "
            f"equal to: {','.join(sorted(infos))}"
        )


def _add(where: str, value: Any, dtype: int, arrays: list[np.ndarray]) -> None:
    try:
        array = dense_array(value, dtype)
        if arrays and array.shape != arrays[0].shape:
            raise invalid(f"Expecting tensor size: {arrays[0].size} but got: {array.size}")
    except ServingError as error:
        raise _at(where, error) from error
    arrays.append(array)


def _at(where: str, error: ServingError) -> ServingError:
    return ServingError(
        error.code if error.code != "UNIMPLEMENTED" else "INVALID_ARGUMENT",
        f"Failed to process element: {where} of 'instances' list. Error: {error.code}: {error.message}",
    )
