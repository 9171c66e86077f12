"""The notebook's model, loaded from a run."""

from __future__ import annotations

import numpy as np
import pytest

import cml_tf
from cml_tf.experiments import presets
from cml_tf.experiments.runs import evaluate_run, load_run, train_run
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
def test_readouts_of_a_run_differ_and_those_through_the_head_can_be_saved(runs, tmp_path, run):
    (inputs, targets), queries, answers = points(3), points(4, seed=1)[0], set()
    for readout in ("learner", "co_learner", "co_learner_theta_adapted"):
        model = cml_tf.load(runs / run, readout)
        answer = model.adapt(inputs, targets).predict(queries)
        answers.add(answer.tobytes())
        if readout == "co_learner_theta_adapted":
            # What is saved answers through the head that adapts; another answer under the same name would be a lie.
            with pytest.raises(ValueError, match="only models that answer through the head that adapted"):
                model.save(tmp_path / readout)
            assert not (tmp_path / readout).exists()
        else:
            model.save(tmp_path / readout)
            again = cml_tf.load(tmp_path / readout).adapt(inputs, targets).predict(queries)
            np.testing.assert_array_equal(again, answer)
    assert len(answers) == 3


def test_a_saved_model_has_no_co_learner(runs, tmp_path):
    cml_tf.load(runs / "cml").save(tmp_path)
    with pytest.raises(ValueError, match="without a co-learner"):
        cml_tf.load(tmp_path, "co_learner")
    with pytest.raises(ValueError, match="readout must be one of"):
        cml_tf.load(runs / "cml", "phi")


def test_a_run_answers_as_it_is_evaluated(runs):
    model = cml_tf.load(runs / "cml")
    evaluation = evaluate_run(runs / "cml", episodes=2)
    (support, query, *_), scores = load_run(runs / "cml").episodes("test").batch(0, 2), []
    for number in range(2):
        task = model.adapt(support.inputs[number].numpy(), support.targets[number].numpy())
        scores.append(np.mean((task.predict(query.inputs[number].numpy()) - query.targets[number].numpy()) ** 2))
    np.testing.assert_allclose(scores, evaluation.scores, rtol=1e-5)
