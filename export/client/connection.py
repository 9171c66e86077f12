"""One model on one server, over either protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

import numpy as np

from export.client.errors import ClientError
from export.client.interface import Choice, Interface, Settings

SCHEMES = ("grpc", "grpcs", "http", "https")


class Connection(Protocol):
    """Raises RequestError for what the server refuses or does not answer in time."""

    def interface(self, choice: Choice) -> Interface:
        """What the chosen version takes and gives."""

    def predict(
        self, choice: Choice, signature: str, inputs: Mapping[str, np.ndarray], dtypes: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          choice: of the version.
          signature: its name.
          inputs: with task axis, by name; bytes as arrays of objects.
          dtypes: of the outputs, by name.
        """

    def close(self) -> None:
        """Ends it."""


def connect(address: str, model: str, settings: Settings) -> Connection:
    """Makes a connection; nothing is sent yet.

    Args:
      address: `grpc://host:8500`, `http://host:8501`, or `grpcs` and `https` for the same over TLS.
      model: its name on the server.
      settings: how to talk.

    Raises:
      ClientError: if the address is none.
    """
    if not model:
        raise ClientError("the name of the model must be passed: use a name that the server prints when it starts.")
    parts = _parts(address)
    if parts.scheme in ("grpc", "grpcs"):
        # TensorFlow's protocol buffers load TensorFlow; REST does without.
        from export.client.grpc_connection import GrpcConnection

        return GrpcConnection(parts.netloc, model, parts.scheme == "grpcs", settings)
    from export.client.rest_connection import RestConnection

    return RestConnection(address.rstrip("/"), model, settings)


def _parts(address: str) -> SplitResult:
    expected = "the address must be like grpc://127.0.0.1:8500 or http://127.0.0.1:8501 (grpcs, https: over TLS)"
    try:
        parts = urlsplit(address)
        complete = parts.scheme in SCHEMES and parts.hostname and (parts.port or parts.scheme.startswith("http"))
    except ValueError as error:
        raise ClientError(f"{expected}, received {address!r}: {error}.") from error
    if not complete or parts.query or parts.fragment or parts.username:
        raise ClientError(f"{expected}, received {address!r}.")
    return parts
