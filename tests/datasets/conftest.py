"""Fixtures of the dataset tests."""

from __future__ import annotations

import pytest

from cml_tf.datasets import load_dataset
from cml_tf.datasets.cache import ENVIRONMENT_VARIABLE


@pytest.fixture(scope="session")
def glyphs():
    return load_dataset("glyphs")


@pytest.fixture
def empty_cache(tmp_path_factory, monkeypatch):
    """A cache of its own for a test that must not find what an earlier one left."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path_factory.mktemp("cache")))
