"""Fixtures that several test directories use."""

from __future__ import annotations

import os

# TensorFlow's native log tells a machine without a GPU several times that it has none; errors reach Python anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

from tests.helpers.precision import precision


@pytest.fixture(autouse=True)
def _precision_restored():
    """No test hands its dtype policy on to the next one."""
    with precision():
        yield


@pytest.fixture
def float64():
    """Keras works in float64, and is put back afterwards."""
    with precision("float64"):
        yield
