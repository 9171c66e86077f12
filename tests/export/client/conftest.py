"""Clients of the common server, over both protocols."""

from __future__ import annotations

import contextlib

import pytest

from export.client import FewShotClient


@pytest.fixture(params=["grpc", "http"])
def ask(request, server):
    """Makes a client of a model."""
    addresses = {"grpc": f"grpc://{server.grpc_address}", "http": f"http://127.0.0.1:{server.rest_port}"}
    with contextlib.ExitStack() as stack:
        yield lambda model, **choice: stack.enter_context(FewShotClient(addresses[request.param], model, **choice))
