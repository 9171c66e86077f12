"""Calibration, prediction sets and open-set scores against references of their own."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.experiments import presets
from cml_tf.experiments.experiment import build_experiment
from cml_tf.problems import Classification
from cml_tf.readouts.confidence import Collected, Confidence, Knot, Summary, measured, read_confidence
from cml_tf.readouts.confidence.collection import collect
from cml_tf.readouts.confidence.confidence import hat_weights
from cml_tf.readouts.confidence.fitting import Asked, fit
from cml_tf.readouts.confidence.measures import area_under_curve, brier, calibration_error, false_positives
from cml_tf.registry import Given, member, members

WAYS = 4


def made(axis, name):
    return member(axis, name).make(Given(Classification(WAYS), {}))


def drawn(queries=4000, temperature=3.0, seed=0):
    """Logits that are too sure by a known factor, with labels drawn from the probabilities that are right."""
    generator = np.random.default_rng(seed)
    right = generator.normal(0, 2, (queries, WAYS))
    labels = (right + generator.gumbel(size=right.shape)).argmax(-1)
    return temperature * right, labels


@pytest.mark.parametrize("name", members("calibration"))
def test_a_calibrator_begins_as_the_identity_and_finds_the_temperature(name):
    logits, labels = drawn()
    calibrator = made("calibration", name)
    same = calibrator.apply(tf.constant(logits), tf.constant(calibrator.identity(WAYS)))
    np.testing.assert_allclose(same, logits, rtol=1e-12)
    numbers = calibrator.fit(logits, labels)
    calibrated = calibrator.apply(tf.constant(logits), tf.constant(numbers)).numpy()
    np.testing.assert_allclose(calibrated.std() / logits.std(), 1 / 3, rtol=0.06)
    # The slope is zero at the best: any other numbers near it are worse.
    for number in range(len(numbers)):
        for step in (-0.05, 0.05):
            other = calibrator.apply(tf.constant(logits), tf.constant(numbers + step * np.eye(len(numbers))[number]))
            assert log_loss(calibrated, labels) < log_loss(other.numpy(), labels)


def log_loss(logits, labels):
    return -scipy.special.log_softmax(logits, -1)[np.arange(len(labels)), labels].mean()


def test_what_is_right_every_time_gets_finite_numbers_and_what_is_not_finite_is_refused():
    numbers = made("calibration", "temperature").fit(np.eye(WAYS), np.arange(WAYS))
    assert np.isfinite(numbers).all() and numbers[0] < -2
    with pytest.raises(UserError, match="finite"):
        made("calibration", "temperature").fit(np.full((2, WAYS), np.nan), np.zeros(2, int))


def test_measures_equal_those_of_scikit_learn():
    logits, labels = drawn(300)
    probabilities = scipy.special.softmax(logits, -1)
    scores, known = probabilities.max(-1).reshape(30, 10), (labels.reshape(30, 10) % 3 > 0)
    np.testing.assert_allclose(
        area_under_curve(scores, known), sklearn.metrics.roc_auc_score(known.ravel(), scores.ravel()), rtol=1e-12
    )
    rates, hits, _ = sklearn.metrics.roc_curve(known.ravel(), scores.ravel(), drop_intermediate=False)
    np.testing.assert_allclose(false_positives(scores, known), rates[hits >= 0.95][0], atol=1e-12)
    np.testing.assert_allclose(
        brier(probabilities, labels).mean(),
        sklearn.metrics.brier_score_loss(labels, probabilities, labels=range(WAYS), scale_by_half=False),
        rtol=1e-12,
    )
    # By hand: a bin of two at 0.9 of which one is right, a bin of two at 0.6 of which both are.
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    np.testing.assert_allclose(calibration_error(sure, np.array([0, 1, 0, 0])), (0.4 + 0.4) / 2)


@pytest.mark.parametrize("position", [0.0, 1.0, 1.3, 2.0, 4.9, 7.0])
def test_numbers_between_knots_are_interpolated_as_numpy_does(position):
    knots, values = [1.0, 2.0, 5.0], np.array([3.0, -1.0, 4.0])
    weights = hat_weights(tf.constant(position, tf.float64), knots).numpy()
    np.testing.assert_allclose(weights @ values, np.interp(position, knots, values), rtol=1e-12)
    np.testing.assert_allclose(weights.sum(), 1)


KNOTS = Knot(1, (0.0,), 0.4, 0.5), Knot(4, (float(np.log(4.0)),), 0.8, 1.5)


def confidence(open_set="energy", knots=KNOTS, **changed):
    return Confidence(WAYS, "temperature", knots, open_set=open_set, **changed)


def test_shots_choose_the_numbers_and_classes_without_examples_are_left_out():
    logits = tf.constant([[4.0, 2.0, 0.0, 9.0]])
    # Two examples a class on average, half way between the knots in the logarithm: a temperature of 2.
    summary = Summary(tf.constant([3.0, 2.0, 1.0, 0.0]), tf.zeros((WAYS, 0)))
    answers = {name: one.numpy() for name, one in confidence().answers(logits, tf.zeros((1, 0)), summary).items()}
    expected = scipy.special.softmax([2.0, 1.0, 0.0])
    np.testing.assert_allclose(answers["calibrated_probabilities"], [[*expected, 0.0]], rtol=1e-6)
    cut = 1 - (0.4 + 0.8) / 2
    assert answers["prediction_set"].tolist() == [[*(expected >= cut).astype(int), 0]]
    np.testing.assert_allclose(answers["known_score"], scipy.special.logsumexp([4.0, 2.0, 0.0]), rtol=1e-6)
    assert answers["is_known"].tolist() == [1]


def test_a_prediction_set_has_the_most_probable_class_at_least():
    nothing = confidence(knots=(Knot(1, (0.0,), 0.0, 0.0),))
    summary = Summary(tf.ones(WAYS), tf.zeros((WAYS, 0)))
    sets = nothing.answers(tf.constant([[0.1, 0.2, 0.0, 0.0]]), tf.zeros((1, 0)), summary)["prediction_set"]
    assert sets.numpy().tolist() == [[0, 1, 0, 0]]


def test_scores_by_hand_and_without_regard_to_the_order_of_classes():
    generator = np.random.default_rng(0)
    logits, features = generator.normal(size=(5, WAYS)), generator.normal(size=(5, 3))
    means, counts = generator.normal(size=(WAYS, 3)), np.array([1.0, 2.0, 0.0, 1.0])
    present = counts > 0
    apart = np.linalg.norm(means[present][:, None] - means[present][None], axis=-1)
    nearest = np.linalg.norm(features[:, None] - means[present][None], axis=-1).min(-1)
    expected = {
        "energy": scipy.special.logsumexp(logits[:, present], -1),
        "largest_probability": scipy.special.softmax(logits[:, present], -1).max(-1),
        "feature_distance": -nearest / apart[np.triu_indices(3, 1)].mean(),
    }
    assert expected.keys() == members("open_set").keys()
    for name, wanted in expected.items():
        for order in (np.arange(WAYS), np.array([2, 0, 3, 1])):
            judged = confidence(name, knots=(Knot(1, (0.0,), 0.5, 0.0),))
            summary = Summary(*(tf.constant(array[order], tf.float32) for array in (counts, means)))
            found = judged.answers(tf.constant(logits[:, order]), tf.constant(features, tf.float32), summary)
            np.testing.assert_allclose(found["known_score"], wanted, rtol=1e-5, err_msg=name)


def collected(logits, labels, episodes):
    """Episodes of single-shot tasks."""
    shape = (episodes, -1)
    summary = Summary(np.ones((episodes, WAYS), np.float32), np.zeros((episodes, WAYS, 0), np.float32))
    rows = logits.reshape(*shape, WAYS).astype(np.float32)
    return Collected(rows, labels.reshape(shape), np.zeros((*rows.shape[:2], 0), np.float32), summary)


@pytest.mark.slow
def test_what_is_fitted_holds_on_queries_drawn_in_the_same_way(monkeypatch):
    calls = iter([0, 1, 0])

    def drawn_episodes(method, source, episodes, confidence):
        seed = next(calls)
        logits, labels = drawn(episodes * 20, seed=seed)
        if source > WAYS:
            # Queries of no class have flat logits.
            outside = np.arange(len(labels)) % 2 > 0
            logits[outside] = np.random.default_rng(9).normal(0, 0.5, (outside.sum(), WAYS))
            labels = np.where(outside, -1, labels)
        return collected(logits, labels, episodes)

    monkeypatch.setattr("cml_tf.readouts.confidence.fitting.collect", drawn_episodes)
    asked = Asked((1,), coverage=0.8, false_accept=0.1, unknown=2, episodes=400)
    fitted, areas = fit(None, Classification(WAYS), lambda ways, shots: ways, asked)
    closed, _ = fit(None, Classification(WAYS), lambda ways, shots: ways, dataclasses.replace(asked, open_set=None))
    assert closed.knots == tuple(dataclasses.replace(knot, threshold=None) for knot in fitted.knots)
    assert closed.fitted_ways == fitted.fitted_ways == WAYS, "as many as the model has"
    # Nothing can be read from features that are not there.
    assert fitted.open_set == max(areas, key=areas.get) != "feature_distance" and set(areas) == set(members("open_set"))
    known, before = collected(*drawn(8000, seed=5), episodes=400), asked.unfitted(WAYS)
    mixed_logits, mixed_labels = drawn(8000, seed=6)
    outside = np.arange(8000) % 2 > 0
    mixed_logits[outside] = np.random.default_rng(7).normal(0, 0.5, (outside.sum(), WAYS))
    mixed = collected(mixed_logits, np.where(outside, -1, mixed_labels), episodes=400)
    found, raw = measured(fitted, known, mixed).measures, measured(before, known).measures
    assert abs(np.exp(fitted.knots[0].numbers[0]) - 3) < 0.2
    assert found["ece"]["mean"] < 0.02 < raw["ece"]["mean"] and found["nll"]["mean"] < raw["nll"]["mean"]
    assert found["accuracy"]["mean"] == raw["accuracy"]["mean"]
    assert abs(found["coverage"]["mean"] - 0.8) < 0.02 and 1 < found["set_size"]["mean"] < WAYS
    assert abs(found["false_accept"]["mean"] - 0.1) < 0.02 and found["true_accept"]["mean"] > 0.5
    assert found["auroc"]["mean"] > 0.85


def test_a_confidence_survives_its_file_and_other_files_are_refused(tmp_path):
    path, fitted = tmp_path / "confidence.json", confidence(model="abc", steps=3)
    path.write_text(json.dumps({"confidence": fitted.to_json()}))
    assert read_confidence(path) == fitted
    wrong = {
        "none": "{}",
        "not JSON": "{",
        "another format": json.dumps({"confidence": {**fitted.to_json(), "format": 9}}),
        "another key": json.dumps({"confidence": {**fitted.to_json(), "colour": 1}}),
        "a list": "[]",
        "no member": json.dumps({"confidence": {**fitted.to_json(), "calibration": "hope"}}),
        "knots that are none": json.dumps({"confidence": {**fitted.to_json(), "knots": [1]}}),
    }
    for text in wrong.values():
        path.write_text(text)
        with pytest.raises(UserError):
            read_confidence(path)
    with pytest.raises(UserError, match="cml_tf.calibrate"):
        read_confidence(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"knots": ()}, "rising"),
        ({"knots": (Knot(2, (0.0,), 0.5, 0.0), Knot(1, (0.0,), 0.5, 0.0))}, "rising"),
        ({"knots": (Knot(1, (0.0, 1.0), 0.5, 0.0),)}, "1 numbers"),
        ({"knots": (Knot(1, (float("nan"),), 0.5, 0.0),)}, "finite"),
        ({"knots": (Knot(1, (0.0,), 0.5),)}, "threshold"),
        ({"coverage": 1.0}, "coverage"),
        ({"false_accept": 0.0}, "false_accept"),
    ],
)
def test_a_confidence_that_makes_no_sense_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        confidence(**change)


def test_episodes_in_which_adaptation_diverges_are_refused():
    config = presets.images("glyphs", "maml,mlp,4way,smoke")
    config.adaptation.rate = 1e30
    experiment = build_experiment(config)
    with pytest.raises(UserError, match="adaptation diverged in an episode.*fewer inner steps"):
        collect(experiment.trainer.method, experiment.episodes("validation"), 2, confidence())
