"""Evaluation: the same episodes for everybody, known by their manifest; intervals; results that no batching changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cml_tf import datasets
from cml_tf.adaptation import SGD, GradientDescent, TangentKernel
from cml_tf.datasets.base import digest
from cml_tf.datasets.class_pool import ClassPoolSource
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.evaluator import Evaluation, Evaluator, compare, confidence_interval, manifest_hash, normalised
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.few_shot import image_pool, sinusoid_trainer
from tests.helpers.toy_rules import RidgeRegression
from tests.helpers.toy_terms import Silent


def sinusoids(seed=0, shots=3, queries=4, split="test"):
    return datasets.load("sinusoid").episodes(split, shots=shots, queries=queries, seed=seed)


def images(pool=None, seed=0, ways=3, shots=1, queries=2, split="test"):
    return ClassPoolSource(pool or image_pool(), split, ways=ways, shots=shots, queries=queries, seed=seed)


def evaluation(scores, manifest="a" * 64, metric="accuracy"):
    return Evaluation(metric, np.asarray(scores, np.float32), 0, manifest, {})


@pytest.fixture(scope="module")
def method():
    return sinusoid_trainer().method


@pytest.fixture(scope="module")
def regressor(method):
    return Evaluator(method, "mse")


@pytest.mark.slow
def test_scores_are_the_metric_of_each_episode_alone_whatever_the_meta_batch(method, regressor):
    before = tf.nest.map_structure(lambda v: v.numpy(), method.all_variables())
    # Eagerly each task is worked on alone.
    alone = evaluate_losses(method, sinusoids().batch(0, 5))[1]["mse"].numpy()
    for meta_batch in (5, 3):
        received = regressor.evaluate(sinusoids(), 5, 0, meta_batch=meta_batch)
        assert received.scores == pytest.approx(alone, rel=1e-5) and received.averages["mse"] == received.mean
    # Compiled once for one meta-batch, whatever number of episodes it divides.
    traced = regressor._compiled.experimental_get_tracing_count()
    regressor.evaluate(sinusoids(), 2, 0, meta_batch=3)
    assert traced == regressor._compiled.experimental_get_tracing_count() == 2
    assert set(received.averages) == {"loss", "mse", "co_loss", "co_mse"}
    assert received.as_json() == {
        "metric": "mse",
        "mean": pytest.approx(np.mean(alone), rel=1e-5),
        "ci95": pytest.approx(confidence_interval(alone), rel=1e-4),
        "episodes": 5,
        "seed": 0,
        "manifest_hash": manifest_hash(sinusoids(), 5),
        "nrmse": pytest.approx(received.nrmse.mean()),
        "nrmse_ci95": pytest.approx(confidence_interval(received.nrmse)),
    }
    after = tf.nest.map_structure(lambda v: v.numpy(), method.all_variables())
    tf.nest.map_structure(np.testing.assert_array_equal, after, before)


def silent(method, rule=None):
    return Evaluator(Method.of(method.learner, rule or method.rule, [Silent(Regression(1))]), "mse")


@pytest.mark.slow
def test_terms_that_report_nothing_are_scored_by_the_query_loss(method, regressor):
    batches = [sinusoids().batch(0, 4)]
    expected, received = regressor.metrics(batches, 3), silent(method).metrics(batches, 3)
    assert received.keys() == {"loss", "mse"}
    for name, values in received.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6)
    evaluation = silent(method).evaluate(sinusoids(), 3, 0)
    np.testing.assert_allclose(evaluation.scores, expected["mse"], rtol=1e-6)


def test_nrmse_is_the_root_of_each_episode_s_error_in_deviations_of_its_query_targets(method, regressor):
    source = sinusoids()
    found = regressor.evaluate(source, 5, 0, meta_batch=5)
    targets = source.batch(0, 5).query.targets.numpy()[..., 0]
    expected = [np.sqrt(score) / np.std(own) for score, own in zip(found.scores, targets, strict=True)]
    np.testing.assert_allclose(found.nrmse, expected, rtol=1e-5)
    assert normalised(found.scores, sinusoids(queries=1)) is None, "one target does not vary"
    half = dataclasses.replace(found, nrmse=found.nrmse / 2)
    difference = compare(half, found, normalised=True)
    assert difference.mean == pytest.approx(-found.nrmse.mean() / 2)
    assert difference.ci95 == pytest.approx(confidence_interval(found.nrmse / 2))
    assert compare(half, found).mean == 0


def test_answering_with_the_mean_of_the_query_targets_scores_an_nrmse_of_one():
    source = sinusoids(queries=50)
    targets = source.batch(0, 3).query.targets.numpy()
    errors = np.square(targets - targets.mean(axis=1, keepdims=True)).mean(axis=(1, 2))
    np.testing.assert_allclose(normalised(errors, source), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_the_manifest_is_that_of_the_episodes():
    pool = image_pool()
    renamed = dataclasses.replace(pool, class_names=("renamed", *pool.class_names[1:]))
    sources = [
        *(sinusoids(**change) for change in ({}, {"shots": 4}, {"queries": 5}, {"split": "validation"})),
        *(images(pool, **change) for change in ({}, {"ways": 4}, {"shots": 2}, {"split": "train"})),
        images(image_pool(seed=1)),
        images(renamed),
    ]
    # Which the manifest covers, and the episodes of a seed.
    different = {source.fingerprint for source in sources}
    assert len(different) == len(sources) and sinusoids().fingerprint in different and images().fingerprint in different
    assert manifest_hash(images(), 4) != manifest_hash(images(seed=1), 4)
    assert manifest_hash(sinusoids(), 4) == manifest_hash(sources[0], 4) != manifest_hash(sinusoids(), 5)
    assert len(manifest_hash(images(), 4)) == 64
    # With the fingerprint of one and the episodes of another, or the other way round, it is neither's.
    source, other_episodes, other_content = sinusoids(), sinusoids(seed=1), sinusoids()
    other_episodes.fingerprint, other_content.fingerprint = source.fingerprint, digest("other content")
    assert manifest_hash(source, 4) not in (manifest_hash(other_episodes, 4), manifest_hash(other_content, 4))


def test_paired_comparison_is_that_of_the_differences():
    first, second = evaluation([0.5, 0.75, 1.0, 0.25]), evaluation([0.25, 0.5, 1.0, 0.5])
    difference = compare(first, second)
    assert (difference.mean, difference.episodes) == (pytest.approx(0.0625), 4)
    # Student's quantile at 0.975 with three degrees of freedom.
    assert difference.ci95 == pytest.approx(3.182446305 * np.std([0.25, 0.25, 0.0, -0.25], ddof=1) / 2, rel=1e-9)
    assert compare(second, first).mean == -difference.mean
    for changes in ({"manifest": "b" * 64}, {"metric": "mse"}):
        with pytest.raises(ValueError, match="the same episodes and metric"):
            compare(first, evaluation([0.5, 1.0, 0.5, 1.0], **changes))


def of_two_inputs():
    learner, problem = mlp(1, (2,), hidden=(4,)), Regression(1)
    return Evaluator(Method.of(learner, GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)]), "mse")


def diverging():
    method = sinusoid_trainer(rate=1e20).method
    return Evaluator(Method.of(method.learner, method.rule.with_steps(2), method.terms), "mse")


def diverging_classes():
    """Whose logits are no numbers, so that the first class is the largest of each."""
    learner, problem = mlp(3, (16, 16, 1), hidden=(4,)), Classification(3)
    method = Method.of(learner, GradientDescent(problem, SGD(1e38), 3), [QueryLoss(problem)])
    return Evaluator(method, "accuracy")


def infinite_kernel():
    learner, problem = mlp(1, (1,), hidden=(4,)), Regression(1)
    learner.variables.head[0].assign(np.full((4, 1), 1e30, "float32"))
    return Evaluator(Method.of(learner, TangentKernel(problem), [QueryLoss(problem)]), "mse")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda regressor: regressor.evaluate(sinusoids(), 1, 0), "episodes must be at least 2"),
        (lambda regressor: regressor.metrics([sinusoids().batch(0, 4)], 5), "5 episodes .* ended after 4"),
        (lambda _: diverging().evaluate(sinusoids(), 4, 0), r"mse is not finite in \d+ of 4 episodes .*diverged"),
        (lambda _: diverging_classes().evaluate(images(), 4, 0), r"loss is not finite in \d of 4 episodes .*diverged"),
        (lambda _: infinite_kernel().evaluate(sinusoids(), 4, 0), "mse is not finite in 4 of 4 episodes .*diverged"),
        (
            lambda _: silent(sinusoid_trainer().method, RidgeRegression()).metrics([sinusoids().batch(0, 4)], 3),
            "must report 'mse', received nothing from silent: set reported = False",
        ),
        (lambda regressor: regressor.evaluate(images(), 4, 0), r"for Regression\(outputs=1\), .*Classif"),
        (lambda _: of_two_inputs().evaluate(sinusoids(), 4, 0), r"float32 \[examples, 2\], .*\[\d+, 1\]"),
    ],
)
def test_what_cannot_be_scored_is_refused(regressor, use, message):
    with pytest.raises(ValueError, match=message):
        use(regressor)


def test_two_and_three_samples_have_closed_forms():
    """One degree of freedom is the Cauchy distribution; two have the quantile l sqrt(2 / (1 - l^2)) at level l."""
    half_width = np.tan(0.475 * np.pi) * abs(3.0 - 1.0) / 2
    assert confidence_interval(np.array([1.0, 3.0])) == pytest.approx(half_width, rel=1e-12)
    samples = np.array([0.2, 0.5, 1.4])
    for level in (0.5, 0.95):
        quantile = level * np.sqrt(2 / (1 - level**2))
        expected = quantile * np.sqrt(np.sum((samples - samples.mean()) ** 2) / 2) / np.sqrt(3)
        assert confidence_interval(samples, level) == pytest.approx(expected, rel=1e-12)
    large = np.tile(np.array([1e8, 1e8 + 64], np.float32), 500)
    assert confidence_interval(large) == pytest.approx(confidence_interval(large.astype(np.float64)), rel=1e-12)
    for few in ([], [1.0], [[1.0, 2.0], [3.0, 4.0]], 1.0):
        with pytest.raises(ValueError, match="at least two samples"):
            confidence_interval(np.array(few))
