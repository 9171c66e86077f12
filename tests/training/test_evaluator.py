"""Evaluation: the same episodes for everybody, known by their manifest; intervals; results that no batching changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.datasets.base import digest
from cml_tf.datasets.class_pool import ClassPoolSource
from cml_tf.datasets.sinusoid import SinusoidDataset
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.evaluator import Evaluation, Evaluator, compare, confidence_interval, manifest_hash
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.few_shot import image_pool, image_trainer, sinusoid_trainer


def sinusoids(seed=0, shots=3, queries=4, split="test"):
    return SinusoidDataset().episodes(split, shots=shots, queries=queries, seed=seed)


def images(pool=None, seed=0, ways=3, shots=1, queries=2, split="test"):
    return ClassPoolSource(pool or image_pool(), split, ways=ways, shots=shots, queries=queries, seed=seed)


def evaluation(scores, manifest="a" * 64, metric="accuracy"):
    return Evaluation(metric, np.asarray(scores, np.float32), 0, manifest, {})


@pytest.fixture(scope="module")
def regressor():
    return Evaluator(sinusoid_trainer().method, "mse")


@pytest.mark.parametrize("kind", ["sinusoid", "images"])
def test_scores_do_not_depend_on_the_meta_batch(kind):
    trainer, source = (sinusoid_trainer(), sinusoids()) if kind == "sinusoid" else (image_trainer(), images())
    before = tf.nest.map_structure(lambda v: v.numpy(), trainer.method.all_variables())
    evaluator = Evaluator(trainer.method, trainer.problem.metric)
    expected, received = (evaluator.evaluate(source, 7, 0, meta_batch=meta_batch) for meta_batch in (7, 3))
    assert received.episodes == 7 and received.manifest_hash == expected.manifest_hash
    np.testing.assert_allclose(received.scores, expected.scores, rtol=1e-5, atol=1e-6)
    assert received.averages == pytest.approx(expected.averages, rel=1e-5, abs=1e-6)
    after = tf.nest.map_structure(lambda v: v.numpy(), trainer.method.all_variables())
    tf.nest.map_structure(np.testing.assert_array_equal, after, before)


def test_scores_are_the_metric_of_each_episode_alone(regressor):
    trainer, source = sinusoid_trainer(), sinusoids()
    received = regressor.evaluate(source, 5, 0)
    for number in range(5):
        _, metrics = evaluate_losses(trainer.method, source.batch(number, 1))
        assert received.scores[number] == pytest.approx(float(metrics["mse"][0]), rel=1e-5)
    assert received.mean == pytest.approx(float(np.mean(received.scores)), rel=1e-6)
    assert set(received.averages) == {"loss", "mse", "co_loss", "co_mse"}
    assert received.averages["mse"] == received.mean


def test_json_has_the_documented_keys(regressor):
    received = regressor.evaluate(sinusoids(seed=5), 6, 5)
    assert received.as_json() == {
        "metric": "mse",
        "mean": received.mean,
        "ci95": received.ci95,
        "episodes": 6,
        "seed": 5,
        "manifest_hash": manifest_hash(sinusoids(seed=5), 6),
    }


def test_the_manifest_is_that_of_the_episodes():
    pool = image_pool()
    renamed = dataclasses.replace(pool, class_names=("renamed", *pool.class_names[1:]))
    sources = [
        *(sinusoids(**change) for change in ({}, {"seed": 1}, {"shots": 4}, {"queries": 5}, {"split": "validation"})),
        *(images(pool, **change) for change in ({}, {"seed": 1}, {"ways": 4}, {"shots": 2}, {"split": "train"})),
        images(image_pool(seed=1)),
        images(renamed),
    ]
    different = [manifest_hash(source, 4) for source in sources]
    assert manifest_hash(sinusoids(), 4) == different[0] != manifest_hash(sinusoids(), 5)
    assert manifest_hash(images(), 4) == different[5]
    assert len(set(different)) == len(different) and all(len(value) == 64 for value in different)


def test_the_manifest_covers_fingerprint_and_indices():
    """Two sources with the fingerprint of one and the episodes of another are told apart."""
    source, other = sinusoids(), sinusoids(seed=1)
    other.fingerprint = source.fingerprint
    assert manifest_hash(source, 4) != manifest_hash(other, 4)
    other.seed, other._stream_key = source.seed, source._stream_key
    assert manifest_hash(source, 4) == manifest_hash(other, 4)
    other.fingerprint = digest("other content")
    assert manifest_hash(source, 4) != manifest_hash(other, 4)


def test_paired_comparison_is_that_of_the_differences():
    first, second = evaluation([0.5, 0.75, 1.0, 0.25]), evaluation([0.25, 0.5, 1.0, 0.5])
    difference = compare(first, second)
    assert difference.mean == pytest.approx(0.0625)
    assert difference.episodes == 4
    # Student's quantile at 0.975 with three degrees of freedom.
    assert difference.ci95 == pytest.approx(3.182446305 * np.std([0.25, 0.25, 0.0, -0.25], ddof=1) / 2, rel=1e-9)
    assert compare(second, first).mean == -difference.mean
    assert compare(first, first) == dataclasses.replace(difference, mean=0.0, ci95=0.0)


@pytest.mark.parametrize("changes", [{"manifest": "b" * 64}, {"metric": "mse"}])
def test_other_episodes_or_metrics_are_not_compared(changes):
    with pytest.raises(ValueError, match="the same episodes and metric"):
        compare(evaluation([0.5, 1.0]), evaluation([0.5, 1.0], **changes))


def test_too_few_episodes_are_an_error(regressor):
    with pytest.raises(ValueError, match="episodes must be at least 2"):
        regressor.evaluate(sinusoids(), 1, 0)
    with pytest.raises(ValueError, match="5 episodes were requested, but the iterable ended after 4"):
        regressor.metrics([sinusoids().batch(0, 4)], 5)


def test_adaptation_that_diverges_is_said():
    method = sinusoid_trainer(rate=1e6).method
    evaluator = Evaluator(Method.of(method.learner, method.rule.with_steps(8), method.terms), "mse")
    with pytest.raises(ValueError, match=r"mse is not finite in \d+ of 4 episodes .*adaptation diverged"):
        evaluator.evaluate(sinusoids(), 4, 0)


def test_compiled_once_for_one_meta_batch(regressor):
    for episodes in (2, 5, 8):
        regressor.evaluate(sinusoids(), episodes, 0)
    assert regressor._compiled.experimental_get_tracing_count() == 1


def test_episodes_that_do_not_fit_are_refused(regressor):
    with pytest.raises(
        ValueError, match=r"episodes must be for Regression\(outputs=1\), received episodes for Classif"
    ):
        regressor.evaluate(images(), 4, 0)
    problem = Regression(1)
    wide = Method.of(mlp(1, (2,), hidden=(4,)), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)])
    with pytest.raises(ValueError, match=r"inputs must be float32 \[examples, 2\], received float32 \[\d+, 1\]"):
        Evaluator(wide, "mse").evaluate(sinusoids(), 4, 0)


def test_two_and_three_samples_have_closed_forms():
    """One degree of freedom is the Cauchy distribution; two have the quantile l sqrt(2 / (1 - l^2)) at level l."""
    half_width = np.tan(0.475 * np.pi) * abs(3.0 - 1.0) / 2
    assert confidence_interval(np.array([1.0, 3.0])) == pytest.approx(half_width, rel=1e-12)
    samples = np.array([0.2, 0.5, 1.4])
    for level in (0.5, 0.9, 0.95):
        quantile = level * np.sqrt(2 / (1 - level**2))
        expected = quantile * np.sqrt(np.sum((samples - samples.mean()) ** 2) / 2) / np.sqrt(3)
        assert confidence_interval(samples, level) == pytest.approx(expected, rel=1e-12)


def test_float32_samples_lose_nothing():
    samples = np.full(1000, 1e8, np.float32)
    samples[::2] += 64
    assert confidence_interval(samples) == pytest.approx(confidence_interval(samples.astype(np.float64)), rel=1e-12)


@pytest.mark.parametrize("samples", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]], 1.0])
def test_too_few_samples_are_refused(samples):
    with pytest.raises(ValueError, match="at least two samples"):
        confidence_interval(np.array(samples))
