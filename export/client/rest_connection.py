"""Over REST; needs no TensorFlow."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from export.client.errors import ClientError, RequestError
from export.client.interface import Choice, Interface, Settings, read_interface

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_RETRYABLE = (429, 503)


class RestConnection:
    """See `Connection`.

    Args:
      server: scheme, host and port.
      model: its name.
      settings: how to talk.
    """

    def __init__(self, server: str, model: str, settings: Settings) -> None:
        self._base = f"{server}/v1/models/{quote(model, safe='')}"
        self._timeout = settings.timeout
        self._session = requests.Session()
        adapter = HTTPAdapter(max_retries=_retries(settings.attempts))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        # Named with every request: of the session's own value, REQUESTS_CA_BUNDLE in the environment gets the better.
        self._authority = str(settings.ca_certificate) if settings.ca_certificate is not None else None
        if settings.certificate is not None:
            self._session.cert = (str(settings.certificate), str(settings.key))

    def interface(self, choice: Choice) -> Interface:
        """What the chosen version takes and gives."""
        document = self._ask("GET", f"{self._path(choice)}/metadata")
        try:
            version = int(document["model_spec"]["version"])
            signatures = document["metadata"]["signature_def"]["signature_def"]
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(
                "the metadata of the server contain no signatures: check that it is TensorFlow Serving or export.serve."
            ) from error
        return read_interface(version, signatures)

    def predict(
        self, choice: Choice, signature: str, inputs: Mapping[str, np.ndarray], dtypes: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """Runs a signature."""
        document = self._ask("POST", f"{self._path(choice)}:predict", column_body(signature, inputs))
        try:
            outputs = document["outputs"]
            return {name: _array(outputs[name], dtype) for name, dtype in dtypes.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(
                f"the answer of the server does not fit its metadata of {signature} ({error}): try again, since the "
                "model may have changed meanwhile."
            ) from error

    def close(self) -> None:
        """Ends it."""
        self._session.close()

    def _path(self, choice: Choice) -> str:
        if choice.version is not None:
            return f"{self._base}/versions/{choice.version}"
        if choice.label is not None:
            return f"{self._base}/labels/{quote(choice.label, safe='')}"
        return self._base

    def _ask(self, method: str, address: str, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            response = self._session.request(
                method, address, data=body, headers=headers, timeout=self._timeout, verify=self._authority
            )
        except requests.Timeout as error:
            raise RequestError("DEADLINE_EXCEEDED", f"no answer within {self._timeout:g} s") from error
        except requests.RequestException as error:
            raise RequestError("UNAVAILABLE", str(error)) from error
        if response.status_code != 200:
            raise _refusal(response)
        try:
            return response.json()
        except ValueError as error:
            raise RequestError("UNIMPLEMENTED", f"{address} answered with something other than JSON") from error


def column_body(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """The body of a predict request in column form."""
    columns = {name: _plain(array) for name, array in inputs.items()}
    return json.dumps({"signature_name": signature, "inputs": columns}).encode()


def _retries(attempts: int) -> Retry:
    # Not after a lost or late answer: that would multiply the timeout.
    return Retry(
        total=attempts - 1,
        read=False,
        other=0,
        status_forcelist=_RETRYABLE,
        allowed_methods=None,
        backoff_factor=0.2,
        backoff_max=3,
        backoff_jitter=0.1,
        raise_on_status=False,
        # It would also repeat 413, and wait as long as the server likes.
        respect_retry_after_header=False,
    )


def _refusal(response: requests.Response) -> RequestError:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:500] or response.reason
    return RequestError(_CODES.get(response.status_code, "UNKNOWN"), f"HTTP {response.status_code}: {message}")


def _array(values: Any, dtype: str) -> np.ndarray:
    if dtype != "object":
        return np.asarray(values, dtype)
    contents = np.empty(len(values), object)
    contents[:] = [base64.b64decode(value["b64"], validate=True) for value in values]
    return contents


def _plain(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    files = [{"b64": base64.b64encode(content).decode()} for content in array.reshape(-1)]
    # Images of one task are the rows of a matrix of objects.
    return np.array(files, object).reshape(array.shape).tolist()
