"""Runs that several test files use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cml_tf.experiments.runs import train_run
from tests.helpers.small_configs import waves


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 4 steps with validation after 2 and 4; tests take copies."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train_run(waves(), workdir, verbose=0)
    return workdir


@pytest.fixture
def run(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))
