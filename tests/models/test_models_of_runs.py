"""The notebook's model, loaded from a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cml_tf
from cml_tf.experiments import presets
from cml_tf.experiments.runs import evaluate_run, train_run
from tests.helpers.small_tasks import points


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, variant in (("cml", "smoke"), ("cl", "smoke,cl")):
        config = presets.sinusoid(f"3shot,{variant}")
        config.learner.hidden = (4,)
        config.train.update({"meta_batch": 1, "steps": 2})
        train_run(config, folder / name, verbose=0)
    return folder


@pytest.mark.parametrize("run", ["cml", "cl"])
def test_readouts_of_a_run(runs, tmp_path, run):
    inputs, targets = points(3)
    queries = points(4, seed=1)[0]
    answers = {}
    for readout in ("learner", "co_learner", "co_learner_theta_adapted"):
        model = cml_tf.load(runs / run, readout)
        answers[readout] = model.adapt(inputs, targets).predict(queries)
        if readout == "co_learner_theta_adapted":
            continue
        model.save(tmp_path / readout)
        np.testing.assert_array_equal(
            cml_tf.load(tmp_path / readout).adapt(inputs, targets).predict(queries), answers[readout]
        )
    different = {answer.tobytes() for answer in answers.values()}
    assert len(different) == 3


def test_a_readout_that_cannot_be_saved_says_so(runs, tmp_path):
    """What is saved answers through the head that adapts; another answer under the same name would be a lie."""
    for run in ("cml", "cl"):
        with pytest.raises(ValueError, match="only models that answer through the head that adapted"):
            cml_tf.load(runs / run, "co_learner_theta_adapted").save(tmp_path / run)
        assert not (tmp_path / run).exists()


def test_a_saved_model_has_no_co_learner(runs, tmp_path):
    cml_tf.load(runs / "cml").save(tmp_path)
    with pytest.raises(ValueError, match="without a co-learner"):
        cml_tf.load(tmp_path, "co_learner")
    with pytest.raises(ValueError, match="readout must be one of"):
        cml_tf.load(runs / "cml", "phi")


def test_a_run_answers_as_it_is_evaluated(runs):
    model = cml_tf.load(runs / "cml")
    evaluation = evaluate_run(runs / "cml", episodes=2)
    (support, query, _), scores = _test_episodes(runs / "cml"), []
    for number in range(2):
        task = model.adapt(support.inputs[number].numpy(), support.targets[number].numpy())
        scores.append(np.mean((task.predict(query.inputs[number].numpy()) - query.targets[number].numpy()) ** 2))
    np.testing.assert_allclose(scores, evaluation.scores, rtol=1e-5)


def _test_episodes(workdir: Path):
    return cml_tf.experiments.runs.load_run(workdir).episodes("test").batch(0, 2)
