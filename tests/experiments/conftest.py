"""Runs that several test files use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cml_tf.experiments.runs import train_run
from tests.helpers.drawn_images import write_classes
from tests.helpers.small_configs import own_pictures, waves


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of 4 steps with validation after 2 and 4; tests take copies."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train_run(waves(), workdir, verbose=0)
    return workdir


@pytest.fixture
def run(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def pictured(tmp_path_factory):
    """A folder with a run on 8 x 8 colour pictures, and these; tests take copies."""
    folder = tmp_path_factory.mktemp("pictured")
    for split in ("train", "validation", "test"):
        write_classes(folder / "images" / split, [f"{split} {letter}" for letter in "ab"])
    config = own_pictures(folder / "images", **{"dataset.queries": 2, "eval.seed": 7, "eval.episodes": 3})
    train_run(config, folder / "run", verbose=0)
    return folder
