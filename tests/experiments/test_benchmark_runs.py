"""Training, evaluation and saving on the image benchmarks, on miniatures of their files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cml_tf
from cml_tf import datasets
from cml_tf.experiments import presets
from cml_tf.experiments.runs import evaluate_run, train_run
from tests.helpers.benchmark_files import write_benchmark
from tests.helpers.small_configs import changed

# Miniatures have three pictures a class.
SMALL = {
    "dataset.queries": 2,
    "eval.queries": 2,
    "learner.filters": 4,
    "train.meta_batch": 1,
    "train.steps": 2,
    "eval.episodes": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"), [("cifar_fs", (32, 32, 3)), pytest.param("mini_imagenet", (84, 84, 3), marks=pytest.mark.long)]
)
def test_a_run_from_the_files_to_a_saved_model(name, shape, tmp_path, monkeypatch):
    keras.backend.clear_session()
    write_benchmark(name, tmp_path, monkeypatch)
    config = changed(presets.images(name, "smoke"), **{"dataset.root": str(tmp_path), **SMALL})
    experiment = train_run(config, tmp_path / "run", verbose=0)
    assert experiment.data.input_shape == shape
    score = evaluate_run(tmp_path / "run")
    assert score.episodes == 2 and 0 <= score.mean <= 1
    write_benchmark("gtsrb", tmp_path, monkeypatch)
    cross = evaluate_run(tmp_path / "run", dataset="gtsrb", root=str(tmp_path))
    assert cross.manifest_hash != score.manifest_hash
    model = cml_tf.load(tmp_path / "run")
    model.save(tmp_path / "model")
    episode = datasets.load(name).episodes("test", ways=5, shots=1, queries=2, seed=0).batch(0, 1)
    support, labels, queries = (np.array(part[0]) for part in (*episode.support[:2], episode.query.inputs))
    answers = [one.adapt(support, labels).predict(queries) for one in (model, cml_tf.load(tmp_path / "model"))]
    assert answers[0].shape == (10, 5)
    np.testing.assert_allclose(*answers, atol=1e-6)
