"""Minutes of broken requests are a program (`benchmarks.reliability.fuzzing`); here are the first of them."""

import pytest

from benchmarks.reliability.broken_requests import decode, fuzz


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["rest", "grpc"])
def test_broken_requests_are_answered_or_refused(decoder):
    done = fuzz(decoder, seconds=120, seed=0, most=20_000)
    assert done["requests"] == 20_000 and len(done["codes"]) > 1
    grown = done["memory_mib"]["last"] - done["memory_mib"]["first"]
    # The sessions that read the dtypes take some megabytes, once.
    assert grown < 60, done


def test_a_name_that_is_no_unicode_is_refused():
    """What fuzzing found: the map of protobuf fails when it is asked for one."""
    body = rb'{"signature_name": "float32", "instances": [{"\udcee": [1.0]}]}'
    assert decode("rest", body) == "INVALID_ARGUMENT"
