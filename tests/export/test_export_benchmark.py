"""From the archive of a benchmark in colour to answers of a SavedModel, for arrays and for the files of pictures."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf import datasets
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE
from cml_tf.experiments import presets
from cml_tf.experiments.runs import train_run
from export.exporter import CARD, EXTRA, Options, export_run
from tests.export.served import Owned, Served
from tests.helpers.benchmark_files import IMAGES, write_benchmark
from tests.helpers.small_configs import changed

WAYS, QUERIES = 5, 2
# Miniatures have three pictures a class.
SMALL = {
    "dataset.queries": QUERIES,
    "eval.queries": QUERIES,
    "learner.filters": 4,
    "train.meta_batch": 1,
    "train.steps": 2,
    "eval.episodes": 2,
}


@pytest.mark.slow
@pytest.mark.long
def test_a_run_on_aircraft_is_exported_and_answers(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "cache"))
    keras.backend.clear_session()
    write_benchmark("aircraft", tmp_path, monkeypatch)
    config = changed(presets.images("aircraft", "smoke"), **{"dataset.root": str(tmp_path), **SMALL})
    train_run(config, tmp_path / "run", verbose=0)
    version = export_run(tmp_path / "run", tmp_path / "models" / "aircraft", Options(evaluate_episodes=2))
    card = json.loads((version / EXTRA / CARD).read_text())
    assert card["inputs"] == {"shape": [84, 84, 3], "dtype": "float32", "value_range": [0.0, 1.0]}
    assert card["metrics"]["episodes"] == 2
    loaded = tf.saved_model.load(str(version))
    served = Served(None, None, Owned(loaded.signatures, loaded), version)

    names = datasets.load("aircraft").class_names("test")[:WAYS]
    images = datasets.load("aircraft").pools["test"].images[: WAYS * IMAGES].reshape(WAYS, IMAGES, 84, 84, 3) / 255.0
    support, query = images[:, 0].astype(np.float32), images[:, 1:].reshape(-1, 84, 84, 3).astype(np.float32)
    labels = np.arange(WAYS, dtype=np.int32)
    answer = served(
        "serving_default", support_inputs=support[None], support_labels=labels[None], query_inputs=query[None]
    )
    expected = cml_tf.load(tmp_path / "run").adapt(support, labels).predict(query)
    assert answer["status"].tolist() == [0] and expected.shape == (WAYS * QUERIES, WAYS)
    # Agreement of answers that know nothing would say nothing.
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(answer["probabilities"][0], expected, rtol=1e-5, atol=1e-5)

    files = {
        (picture.class_name, picture.name): picture.read()
        for picture in BENCHMARKS["aircraft"].source.verified(tmp_path)()
    }
    by_class = [[files[key] for key in sorted(files) if key[0] == name] for name in names]
    from_files = served(
        "adapt_and_predict_bytes",
        support_inputs_bytes=np.array([[of_class[0] for of_class in by_class]], object),
        support_labels=labels[None],
        query_inputs_bytes=np.array([[content for of_class in by_class for content in of_class[1:]]], object),
    )
    np.testing.assert_allclose(from_files["probabilities"], answer["probabilities"], rtol=1e-5, atol=1e-5)
