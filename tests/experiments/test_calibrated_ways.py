"""A confidence of a model for any number of classes, fitted on tasks of one number, and what it says of that."""

import math

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.experiments import confident_runs, presets
from cml_tf.experiments.experiment import build_experiment
from cml_tf.readouts.confidence import Asked, Confidence, Knot, Summary
from cml_tf.readouts.confidence.calibration import Temperature
from cml_tf.training.evaluator import manifest_hash

pytestmark = pytest.mark.slow

MOST, WAYS, EPISODES = 5, 2, 4


def built(words, **changes):
    config = presets.images("glyphs", f"maml,mlp,{words},smoke")
    small = {"learner.hidden": (8,), "adaptation.steps": 1, "adaptation.eval_steps": 1, "eval.queries": 3}
    config.update_from_flattened_dict({**small, **changes})
    return build_experiment(config)


@pytest.fixture(scope="module")
def free():
    return built("3way,1shot,any_size,proto_maml", **{"dataset.ways_range": (2, MOST)})


@pytest.fixture
def fitted_run(monkeypatch, tmp_path):
    """`fit_run` of an experiment as it was built, without a run."""

    def fit(experiment, **asked):
        monkeypatch.setattr(confident_runs, "load_run", lambda workdir, checkpoint: experiment)
        return confident_runs.fit_run(tmp_path, Asked((1,), episodes=EPISODES, **asked), 2)

    return fit


def temperature_by_hand(experiment):
    """From what the model answers tasks of two classes, in the first half of the validation episodes."""
    learner, rule = experiment.trainer.method.learner, experiment.evaluation_rule(experiment.trainer.method.rule)
    batch = confident_runs._episodes(experiment, "validation", WAYS, 1).batch(0, EPISODES)
    logits, labels = [], []
    for task in range(EPISODES // 2):
        support = Examples(*(array[task] for array in batch.support[:2]))
        outputs = rule.adapt(learner, rule.initial(learner), support, ()).predict(batch.query.inputs[task])[1]
        logits.append(outputs.numpy()[:, :WAYS])
        labels.append(batch.query.targets[task].numpy())
    return Temperature().fit(np.concatenate(logits), np.concatenate(labels))


def test_it_is_fitted_and_measured_on_tasks_of_the_number_that_was_asked_for(free, fitted_run):
    found = fitted_run(free, open_set="energy", ways=WAYS)
    confidence = found.confidence
    assert (confidence.ways, confidence.fitted_ways, found.origin["ways"]) == (MOST, WAYS, WAYS)
    assert found.origin["manifest_hash"] == manifest_hash(confident_runs._episodes(free, "test", WAYS, 1), 2)
    np.testing.assert_allclose(confidence.knots[0].numbers, temperature_by_hand(free), atol=1e-4)
    assert 1 <= found.measures["1"]["after"]["set_size"]["mean"] <= WAYS
    assert Confidence.from_json(confidence.to_json()) == confidence


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"ways": MOST + 1}, "ways must be from 2 to 5"),
        ({"ways": 1}, "ways must be from 2 to 5"),
        ({"ways": WAYS, "calibration": "vector"}, "use calibration temperature"),
    ],
)
def test_numbers_of_classes_that_cannot_be_are_refused(free, fitted_run, asked, words):
    with pytest.raises(UserError, match=words):
        fitted_run(free, **asked)


def test_a_model_whose_class_rows_are_its_own_has_one_number(fitted_run):
    with pytest.raises(UserError, match="ways must be 3 for this model"):
        fitted_run(built("3way,1shot"), open_set=None, ways=WAYS)


def test_it_answers_tasks_of_any_number_whatever_it_was_fitted_on():
    confidence = Confidence(MOST, "temperature", (Knot(1, (math.log(2.0),), 0.5),), fitted_ways=WAYS)
    counts, logits = tf.constant([1.0, 1.0, 1.0, 0.0, 0.0]), tf.constant([[2.0, 0.0, 4.0, 9.0, 9.0]])
    answers = confidence.answers(logits, tf.zeros((1, 0)), Summary(counts, tf.zeros((MOST, 0))))
    expected = np.exp([1.0, 0.0, 2.0]) / np.exp([1.0, 0.0, 2.0]).sum()
    np.testing.assert_allclose(answers["calibrated_probabilities"], [[*expected, 0, 0]], rtol=1e-6)


def test_files_of_before_are_read_and_impossible_ones_refused():
    written = Confidence(MOST, "temperature", (Knot(1, (0.0,), 0.5),), fitted_ways=WAYS).to_json()
    assert Confidence.from_json(written).as_fitted.ways == WAYS
    old = {name: value for name, value in written.items() if name != "fitted_ways"}
    assert Confidence.from_json(old).as_fitted.ways == MOST
    with pytest.raises(UserError, match="fitted_ways must be from 2 to 5, received 6"):
        Confidence.from_json({**written, "fitted_ways": MOST + 1})
