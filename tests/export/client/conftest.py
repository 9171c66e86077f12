import contextlib

import pytest

from export.client import FewShotClient


@pytest.fixture(params=["grpc", "http"])
def ask(request, server):
    """Makes a client of a model of the common server, over both protocols."""
    with contextlib.ExitStack() as stack:
        address = server.addresses[request.param]
        yield lambda model, **choice: stack.enter_context(FewShotClient(address, model, **choice))
