import functools
import math

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.problems import Regression
from cml_tf.studies.results import read_results
from cml_tf.training.evaluator import manifest_hash
from tests.helpers.programs import ROOT


@functools.cache
def make_source(split="train", shots=5, queries=7, seed=0, **options):
    """Each is traced once for all tests."""
    return datasets.load("sinusoid", **options).episodes(split, shots=shots, queries=queries, seed=seed)


def test_targets_are_the_waves_that_parameters_names():
    source = make_source()
    episode, (amplitude, phase) = source.batch(3, 50), source.parameters(3, 50)
    assert amplitude.shape == phase.shape == (50,)
    for part, size in ((episode.support, 5), (episode.query, 7)):
        assert part.inputs.shape == part.targets.shape == (50, size, 1)
        waves = amplitude[:, None, None] * np.sin(part.inputs.numpy() - phase[:, None, None])
        np.testing.assert_allclose(part.targets, waves, atol=2e-6)
    values = source.indices(3, 50).astype(np.int32).view(np.float32)
    assert values.shape == (50, 2 + 5 + 7), "records hold the whole episode"
    np.testing.assert_array_equal(values[:, 2:7], episode.support.inputs[..., 0])


def test_draws_are_uniform_over_the_papers_ranges():
    source = make_source()
    amplitude, phase = source.parameters(0, 2000)
    inputs = source.batch(0, 2000).query.inputs.numpy()
    for values, low, high in ((amplitude, 0.1, 5.0), (phase, 0.0, math.pi), (inputs, -5.0, 5.0)):
        assert values.min() >= low and values.max() <= high
        unit = (values.ravel() - low) / (high - low)
        assert np.abs(np.histogram(unit, 10, (0, 1))[0] / unit.size - 0.1).max() < 0.035
    assert abs(np.corrcoef(amplitude, phase)[0, 1]) < 0.1


def test_shifted_waves_are_those_of_the_same_stream_upside_down():
    shifted = datasets.load("shifted_sinusoid").episodes("test", shots=5, queries=7, seed=0)
    one, other = shifted.batch(3, 50), make_source("test").batch(3, 50)
    amplitude, phase = shifted.parameters(3, 50)
    np.testing.assert_array_equal(amplitude, make_source("test").parameters(3, 50)[0])
    assert phase.min() >= math.pi and phase.max() <= 2 * math.pi
    for mine, theirs in zip(one[:2], other[:2], strict=True):
        np.testing.assert_array_equal(mine.inputs, theirs.inputs)
        np.testing.assert_allclose(mine.targets, -theirs.targets.numpy(), atol=5e-6)
    assert shifted.fingerprint != make_source("test").fingerprint


def test_splits_seeds_and_settings_are_different_streams_one_of_them_that_of_earlier_runs():
    source = make_source()
    assert source.problem == Regression(outputs=1)
    records = source.indices(0, 10)
    for other in (make_source("test"), make_source("validation"), make_source(seed=1)):
        assert (other.indices(0, 10) != records).all(axis=0)[:2].all()
    amplitude, phase = make_source(seed=7).parameters(123, 1)
    np.testing.assert_allclose([amplitude[0], phase[0]], [3.6546912, 2.5345876], rtol=1e-6)
    others = [make_source("test"), make_source(shots=6), make_source(queries=8)]
    assert len({source.fingerprint, *(other.fingerprint for other in others)}) == 4
    with pytest.raises(DatasetError, match="ways .*received 5"):
        datasets.load("sinusoid").episodes("train", ways=5, shots=5, queries=7, seed=0)


def test_the_episodes_of_the_committed_results_are_made_still():
    line = next(iter(read_results(ROOT / "docs/results/sinusoid.jsonl").values()))
    shots, queries = line["config"]["dataset"]["shots"], line["config"]["eval"]["queries"]
    source = make_source("test", shots=shots, queries=queries, seed=line["config"]["eval"]["seed"])
    assert manifest_hash(source, line["episodes"]) == line["manifest_hash"]


def test_all_pipelines_of_a_source_share_one_graph(monkeypatch):
    source, traced = make_source.__wrapped__(), []
    honest = source.assemble
    monkeypatch.setattr(source, "assemble", lambda record: traced.append(record) or honest(record))
    for batch in (source.batch(0, 2), source.batch(3, 1), next(iter(source.batches(5, 2)))):
        assert len(batch.support.inputs) in (1, 2)
    assert len(traced) == 1


def test_an_episode_s_key_follows_from_seed_split_and_number():
    first = make_source().batch(5, 4).key.numpy()
    assert first.shape == (4, 2) and first.dtype == np.int64
    np.testing.assert_array_equal(first[2:], next(iter(make_source().batches(7, 2))).key)
    everything = np.concatenate([first, make_source(seed=1).batch(5, 4).key, make_source("test").batch(5, 4).key])
    assert len(np.unique(everything, axis=0)) == 12


@pytest.mark.slow
def test_noisy_training_tasks_have_noise_for_targets_and_the_others_are_as_without():
    source, plain = make_source(noisy_tasks=0.25), make_source()
    noisy = source.noisy(3, 2000)
    assert abs(noisy.mean() - 0.25) < 0.03
    one, other = source.batch(3, 2000), plain.batch(3, 2000)
    drawn = []
    for mine, theirs in zip(one[:2], other[:2], strict=True):
        np.testing.assert_array_equal(mine.inputs, theirs.inputs)
        np.testing.assert_array_equal(mine.targets.numpy()[~noisy], theirs.targets.numpy()[~noisy])
        drawn.append(mine.targets.numpy()[noisy])
    np.testing.assert_array_equal(one.key, other.key)
    noise = np.concatenate(drawn, 1)
    assert noise.shape[1:] == (12, 1)
    assert abs(noise.mean()) < 0.2 and abs(noise.var() - 25) < 1.5
    assert abs(np.mean(np.abs(noise) < 5) - 0.6827) < 0.02, "normal"
    assert np.abs(np.corrcoef(noise[:, :, 0].T) - np.eye(12)).max() < 0.2
    np.testing.assert_array_equal(source.parameters(3, 50), plain.parameters(3, 50))


@pytest.mark.slow
def test_noise_is_a_pure_function_of_seed_and_number():
    source = make_source(noisy_tasks=0.5, noise_variance=4.0)
    whole, tail = source.batch(0, 40), next(iter(source.batches(30, 10)))
    np.testing.assert_array_equal(whole.query.targets[30:], tail.query.targets)
    noisy = source.noisy(0, 40)
    np.testing.assert_array_equal(noisy[30:], source.noisy(30, 10))
    wider = make_source(noisy_tasks=0.5, noise_variance=16.0).batch(0, 40)
    np.testing.assert_allclose(wider.query.targets[noisy], 2 * whole.query.targets[noisy], rtol=1e-6)
    more = make_source(noisy_tasks=0.8).noisy(0, 40)
    assert more.sum() > noisy.sum() and (more | ~noisy).all(), "a larger share has the same tasks and further ones"
    assert (make_source(noisy_tasks=0.5, seed=1).noisy(0, 40) != noisy).any()


def test_splits_without_noise_are_the_streams_of_before():
    for split in ("train", "validation", "test"):
        for share in (0.0, 1.0):
            clean = share == 0 or split != "train"
            assert (make_source(split, noisy_tasks=share).fingerprint == make_source(split).fingerprint) == clean
    for split, share in (("train", 0.0), ("test", 1.0)):
        source = make_source(split, noisy_tasks=share)
        one, other = source.batch(0, 20), make_source(split).batch(0, 20)
        np.testing.assert_array_equal(one.support.inputs, other.support.inputs)
        np.testing.assert_array_equal(one.query.targets, other.query.targets)
        assert not source.noisy(0, 20).any()
    assert make_source(noisy_tasks=1.0).noisy(0, 20).all()
    assert make_source(noisy_tasks=0.5, noise_variance=1.0).fingerprint != make_source(noisy_tasks=0.5).fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noisy_tasks": -0.1}, "noisy_tasks must be a share from 0 to 1, received -0.1"),
        ({"noisy_tasks": 1.1}, "noisy_tasks must be"),
        ({"noisy_tasks": float("nan")}, "noisy_tasks must be"),
        ({"noise_variance": 0.0}, "noise_variance must be positive, received 0.0"),
        ({"noise_variance": float("inf")}, "noise_variance must be"),
        ({"noisy_classes": 0.5}, r"no option noisy_classes \(its options: tasks, noisy_tasks, noise_variance\)"),
    ],
)
def test_noise_out_of_range_is_refused(options, message):
    with pytest.raises(DatasetError, match=message):
        datasets.load("sinusoid", **options)
