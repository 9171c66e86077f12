"""A run on one set of images, scored on another."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.experiments.configuration import default_config
from cml_tf.experiments.runs import episodes_of, evaluate_run, load_run
from cml_tf.registry import Choice
from cml_tf.training.evaluator import manifest_hash
from tests.helpers.benchmark_files import write_benchmark
from tests.helpers.drawn_images import drawings, write_classes, write_zip


@pytest.fixture(scope="module")
def run(pictured):
    return pictured / "run"


@pytest.fixture(scope="module")
def loaded(run):
    return load_run(run)


@pytest.mark.slow
def test_a_benchmark_is_made_at_the_runs_size(run, loaded, tmp_path, monkeypatch):
    write_benchmark("gtsrb", tmp_path, monkeypatch)
    source = episodes_of(loaded, "gtsrb", str(tmp_path), "test")
    expected = datasets.load("gtsrb", str(tmp_path), image_size=(8, 8)).episodes(
        "test", ways=2, shots=1, queries=1, seed=7
    )
    assert source.fingerprint == expected.fingerprint
    other = evaluate_run(run, dataset="gtsrb", root=str(tmp_path))
    assert other.episodes == 3 and other.seed == 7 and other.manifest_hash == manifest_hash(expected, 3)
    assert source.batch(0, 1).support.inputs.shape == (1, 2, 8, 8, 3)
    with pytest.raises(DatasetError, match="split of the dataset 'gtsrb' must be one of test, received 'validation'"):
        episodes_of(loaded, "gtsrb", str(tmp_path), "validation")


@pytest.mark.slow
def test_other_pictures_of_ones_own_and_another_shape(loaded, tmp_path):
    for split in ("train", "validation", "test"):
        write_classes(tmp_path / split, [f"{split} {letter}" for letter in "cd"])
    other = episodes_of(loaded, "image_folder", str(tmp_path), "test")
    assert other.fingerprint != loaded.episodes("test").fingerprint and other.seed == 7
    write_zip(tmp_path / "images_background.zip", drawings({"Braille": 3, "Hebrew": 2}))
    write_zip(tmp_path / "images_evaluation.zip", drawings({"Tengwar": 3}))
    with pytest.raises(DatasetError, match=r"omniglot .*\(8, 8, 3\) that the run .*received \(28, 28, 1\)"):
        episodes_of(loaded, "omniglot", str(tmp_path), "test")


@pytest.mark.parametrize(
    ("own", "other", "split", "message"),
    [
        ("cifar_fs", "fc100", "test", r"15 of 20 are .* \(beaver, bee, beetle, \.\.\.\)\. Score the run on"),
        ("mini_imagenet", "tiered_imagenet", "test", "15 of 160 are"),
        ("cifar_fs", "fc100", "train", r"49 of 60 are .* training or validation classes .* with other pictures"),
    ],
)
def test_classes_that_the_run_was_trained_on_are_refused(own, other, split, message):
    """Before any file is looked for."""
    with pytest.raises(
        DatasetError, match=f"the {split} classes of {other} must be new to a run on {own}, .*{message}"
    ):
        episodes_of(run_on(own), other, "", split)


@pytest.mark.parametrize(("own", "other"), [("cifar_fs", "gtsrb"), ("cifar_fs", "cifar_fs"), ("cub", "cars")])
def test_benchmarks_of_other_pictures_and_ones_own_are_not(own, other, monkeypatch):
    asked = []

    def load(name, root, **options):
        asked.append((name, options))
        raise DatasetError("loaded")

    monkeypatch.setattr("cml_tf.datasets.load", load)
    with pytest.raises(DatasetError, match="^loaded$"):
        episodes_of(run_on(own), other, "", "test")
    assert asked == [(other, {"image_size": (32, 32)})]


def run_on(name):
    """As much of a run on a benchmark as is looked at before files are."""
    config = default_config(Choice(name, learner="conv4"))
    return SimpleNamespace(config=config, data=SimpleNamespace(input_shape=(32, 32, 3)))


@pytest.mark.parametrize("name", ["cora", "mnist"])
def test_what_is_no_images_is_refused(name):
    """Runs on no images, and a root alone, are refused in tests/programs/test_programs.py."""
    with pytest.raises(DatasetError, match=f"a run on 'cub' .* one of glyphs, .* received '{name}'"):
        episodes_of(run_on("cub"), name, "", "test")
