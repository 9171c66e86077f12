"""What release 0.1.0 wrote is read: runs with their checkpoints, and saved models, in data/release_0_1.

`expected.json` has what that release answered: the scores of four test episodes, and predictions of one task.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cml_tf
from cml_tf.experiments.runs import evaluate_run, load_run, train_run

WRITTEN = Path(__file__).parent / "data" / "release_0_1"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text())


def task(name):
    """Support inputs and targets, and queries, as they were drawn then."""
    generator = np.random.default_rng(0)
    if name == "waves":
        inputs, targets = generator.uniform(-5, 5, (5, 1)), generator.standard_normal((5, 1))
        queries = generator.uniform(-5, 5, (3, 1))
    else:
        inputs, targets = generator.random((5, 28, 28, 1)), np.arange(5)
        queries = generator.random((3, 28, 28, 1))
    return inputs.astype(np.float32), targets, queries.astype(np.float32)


@pytest.mark.parametrize("name", EXPECTED)
def test_runs_and_saved_models_answer_as_they_did(name):
    inputs, targets, queries = task(name)
    for written in (WRITTEN / name, WRITTEN / f"{name}_model"):
        found = cml_tf.load(written).adapt(inputs, targets).predict(queries)
        np.testing.assert_allclose(found, EXPECTED[name]["predictions"], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["waves", pytest.param("letters", marks=pytest.mark.slow)])
def test_a_run_has_the_scores_of_then_and_goes_on(name, tmp_path):
    shutil.copytree(WRITTEN / name, tmp_path / name)
    evaluation = evaluate_run(tmp_path / name, episodes=4)
    assert evaluation.manifest_hash == EXPECTED[name]["manifest_hash"]
    np.testing.assert_allclose(evaluation.scores, EXPECTED[name]["scores"], rtol=1e-4)
    config = load_run(tmp_path / name).config
    before = config.train.steps
    config.train.steps = before + config.train.validate_every
    experiment = train_run(config, tmp_path / name, verbose=0)
    assert experiment.trainer.step == config.train.steps > before
    lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines][-1] == config.train.steps
    assert lines[: len(lines) - 2] == (WRITTEN / name / "metrics.jsonl").read_text().splitlines()
