"""Fixtures of the dataset tests."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from cml_tf import datasets
from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE
from tests.helpers.benchmark_files import write_benchmark


@pytest.fixture(scope="session")
def glyphs():
    return datasets.load("glyphs")


@pytest.fixture
def empty_cache(tmp_path_factory, monkeypatch):
    """A cache of its own for a test that must not find what an earlier one left."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def offline(monkeypatch):
    """No archive can be downloaded; the hosts that were asked for."""
    asked = []

    def refused(url, **settings):
        asked.append(urlsplit(url).hostname)
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", refused)
    return asked


@pytest.fixture
def miniature(tmp_path, monkeypatch, empty_cache):
    """Writes the miniature of a benchmark into a folder of its own, and gives that."""

    def write(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        write_benchmark(name, folder, monkeypatch)
        return folder

    return write
