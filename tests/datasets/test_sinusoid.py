from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.problems import Regression


def make_source(split="train", shots=5, queries=7, seed=0):
    return datasets.load("sinusoid").episodes(split, shots=shots, queries=queries, seed=seed)


def test_targets_are_the_waves_that_parameters_names():
    source = make_source()
    episode, (amplitude, phase) = source.batch(3, 50), source.parameters(3, 50)
    assert amplitude.shape == phase.shape == (50,)
    for part, size in ((episode.support, 5), (episode.query, 7)):
        assert part.inputs.shape == part.targets.shape == (50, size, 1)
        waves = amplitude[:, None, None] * np.sin(part.inputs.numpy() - phase[:, None, None])
        np.testing.assert_allclose(part.targets, waves, atol=2e-6)


def test_draws_are_uniform_over_the_papers_ranges():
    source = make_source(shots=10, queries=10)
    amplitude, phase = source.parameters(0, 2000)
    inputs = source.batch(0, 2000).query.inputs.numpy()
    for values, low, high in ((amplitude, 0.1, 5.0), (phase, 0.0, math.pi), (inputs, -5.0, 5.0)):
        assert values.min() >= low
        assert values.max() <= high
        unit = (values.ravel() - low) / (high - low)
        assert np.abs(np.histogram(unit, 10, (0, 1))[0] / unit.size - 0.1).max() < 0.035
    assert abs(np.corrcoef(amplitude, phase)[0, 1]) < 0.1


def test_support_and_query_share_no_input():
    episode = make_source().batch(0, 100)
    for support, query in zip(episode.support.inputs.numpy(), episode.query.inputs.numpy(), strict=True):
        assert not np.intersect1d(support, query).size


def test_records_hold_the_whole_episode():
    records = make_source().indices(0, 20)
    assert records.shape == (20, 2 + 5 + 7)
    values = records.astype(np.int32).view(np.float32)
    np.testing.assert_array_equal(values[:, 2:7], make_source().batch(0, 20).support.inputs[..., 0])


def test_splits_and_seeds_are_different_streams():
    first = make_source().indices(0, 10)
    for other in (make_source("test"), make_source("validation"), make_source(seed=1)):
        assert (other.indices(0, 10) != first).all(axis=0)[:2].all()


def test_the_stream_is_the_one_that_earlier_runs_used():
    amplitude, phase = make_source(seed=7).parameters(123, 1)
    np.testing.assert_allclose([amplitude[0], phase[0]], [3.6546912, 2.5345876], rtol=1e-6)


def test_problem_and_fingerprint():
    source = make_source()
    assert source.problem == Regression(outputs=1)
    assert source.fingerprint == make_source(seed=9).fingerprint
    others = [make_source("test"), make_source(shots=6), make_source(queries=8)]
    assert len({source.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert source.batches(0, 4).element_spec.query.targets == tf.TensorSpec([4, 7, 1], tf.float32)


def test_ways_are_refused():
    with pytest.raises(DatasetError, match="ways must be None, received 5"):
        datasets.load("sinusoid").episodes("train", ways=5, shots=1, queries=1, seed=0)
