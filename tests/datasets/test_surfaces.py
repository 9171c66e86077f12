"""CosMixture and Alpine: the formulas, their ranges, streams that never share a task, and a fixed number of tasks."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import SPLITS, DatasetError
from cml_tf.errors import UserError
from tests.helpers.programs import ROOT

FIFTHS = 5 * math.pi / 12
RANGES = {
    "cosmixture": ((0.1, 1.0), (0.5 * math.pi, 2 * math.pi), (3.0, 6.0)),
    "alpine": ((-FIFTHS, FIFTHS), (-FIFTHS, FIFTHS)),
}
SIDE = {"cosmixture": 1.0, "alpine": 10.0}


@functools.cache
def make_source(name, split="train", tasks=0, shots=5, queries=7, seed=0):
    """Each is traced once for all tests."""
    return datasets.load(name, tasks=tasks).episodes(split, shots=shots, queries=queries, seed=seed)


def cosmixture(amplitude, frequency, phase, x, y):
    """Written out, in double precision."""
    ripples = amplitude * math.cos(frequency * x + phase) + amplitude * math.cos(frequency * y + phase)
    return -0.1 * ripples - (x**2 + y**2)


def alpine(first, second, x, y):
    return abs(x * math.sin(x + first) + 0.1 * x) + abs(y * math.sin(y + second) + 0.1 * y)


FORMULAS = {"cosmixture": cosmixture, "alpine": alpine}


@pytest.mark.parametrize("name", FORMULAS)
def test_targets_are_the_formula_of_the_parameters_and_points(name):
    source = make_source(name)
    episode, parameters = source.batch(3, 20), source.parameters(3, 20)
    for part, size in ((episode.support, 5), (episode.query, 7)):
        assert part.inputs.shape == (20, size, 2) and part.targets.shape == (20, size, 1)
        for task, own in enumerate(zip(*parameters, strict=True)):
            expected = [FORMULAS[name](*map(float, own), float(x), float(y)) for x, y in part.inputs[task].numpy()]
            np.testing.assert_allclose(part.targets[task, :, 0], expected, atol=3e-6 * SIDE[name])
    values = source.indices(3, 20).astype(np.int32).view(np.float32)
    assert values.shape == (20, len(parameters) + 2 * (5 + 7)), "records hold the whole episode"
    np.testing.assert_array_equal(values[:, : len(parameters)], np.stack(parameters, axis=1))


def test_formulas_have_the_values_that_can_be_told_by_hand():
    # cos(pi / 2 * 1 + pi / 2) = cos(pi) = -1 and cos(-pi / 2 + pi / 2) = 1 cancel each other; two of cos(pi) do not.
    points = np.array([[1.0, -1.0], [0.0, 0.0]], np.float32)
    formula = make_source("cosmixture").formula
    np.testing.assert_allclose(formula.value(0.5, math.pi / 2, math.pi / 2, points), [[-2.0], [0.0]], atol=1e-6)
    np.testing.assert_allclose(formula.value(0.5, math.pi / 2, math.pi, points[1:]), [[0.1]], atol=1e-6)
    # x = pi / 2: |x + 0.1 x|; -x, with the sine -1: |x - 0.1 x|.
    points = np.array([[math.pi / 2, -math.pi / 2], [0.0, 0.0]], np.float32)
    expected = [[(1.1 + 0.9) * math.pi / 2], [0.0]]
    np.testing.assert_allclose(make_source("alpine").formula.value(0.0, 0.0, points), expected, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_draws_are_uniform_over_the_papers_ranges_and_independent(name):
    source = make_source(name)
    parameters, inputs = source.parameters(0, 2000), source.batch(0, 2000).query.inputs.numpy()
    square = (-SIDE[name], SIDE[name])
    draws = (*parameters, inputs[..., 0], inputs[..., 1])
    for values, (low, high) in zip(draws, (*RANGES[name], square, square), strict=True):
        assert values.min() >= np.float32(low) and values.max() <= np.float32(high)
        unit = (values.ravel() - low) / (high - low)
        assert np.abs(np.histogram(unit, 10, (0, 1))[0] / unit.size - 0.1).max() < 0.035
    together = np.corrcoef([*parameters, inputs[:, 0, 0], inputs[:, 0, 1]])
    assert np.abs(together - np.eye(len(together))).max() < 0.1


# What follows is of every formula, and written once for all.
@pytest.mark.slow
def test_a_fixed_number_of_tasks_are_the_first_of_the_endless_stream_over_and_over():
    endless, fixed = make_source("alpine").indices(0, 8), make_source("alpine", tasks=8)
    drawn = fixed.indices(0, 400)
    numbers = [int(np.flatnonzero((endless == record).all(1))[0]) for record in drawn]
    assert np.bincount(numbers, minlength=8).min() > 25, "all of them, about as often"
    assert numbers[:16] != numbers[16:32], "in no fixed order"
    np.testing.assert_array_equal(fixed.indices(123, 5), drawn[123:128])
    # What is random about a task, such as mixing its queries, is not the same each time that it comes.
    batch = fixed.batch(100, 100)
    assert len(np.unique(batch.key, axis=0)) == 100
    np.testing.assert_array_equal(next(iter(fixed.batches(123, 5))).query.targets, batch.query.targets[23:28])
    one = make_source("alpine", tasks=1).indices(0, 5)
    np.testing.assert_array_equal(one, np.repeat(endless[:1], 5, axis=0))


def test_splits_and_seeds_never_share_a_task_and_only_training_repeats_them():
    sources = [make_source("alpine", split, tasks=8) for split in SPLITS]
    sources += [make_source("alpine", split, tasks=8, seed=1) for split in ("train", "test")]
    drawn = [source.indices(0, 300) for source in sources]
    records = [{record.tobytes() for record in found} for found in drawn]
    assert [len(found) for found in records] == [8, 300, 300, 8, 300]
    assert len(set.union(*records)) == sum(map(len, records))
    # Records begin with the parameters.
    parameters = np.concatenate([np.unique(found[:, 0]) for found in drawn])
    assert len(np.unique(parameters)) == len(parameters)


def test_fingerprints_tell_formulas_sizes_and_training_tasks_apart():
    sources = [make_source(name, tasks=tasks) for name in ("sinusoid", *FORMULAS) for tasks in (0, 8, 9)]
    sources += [make_source("alpine", "test"), make_source("alpine", shots=6)]
    assert len({source.fingerprint for source in sources}) == len(sources)
    assert make_source("alpine", "test").fingerprint == make_source("alpine", "test", tasks=8).fingerprint


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="tasks must be an integer of at least 0 .*received -1"):
        datasets.load("alpine", tasks=-1)
    with pytest.raises(DatasetError, match=r"ways must be None for cosmixture \(regression\), received 5"):
        datasets.load("cosmixture").episodes("test", ways=5, shots=1, queries=1, seed=0)
    with pytest.raises(DatasetError, match="'alpine' has no option classes .its options: tasks"):
        datasets.load("alpine", classes=(1, 2, 3))
    with pytest.raises(DatasetError, match="root must be empty for the dataset 'alpine'"):
        datasets.load("alpine", str(ROOT))
