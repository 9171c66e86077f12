"""Episodes of different sizes: what the records say, bounds that are reached, one stream for ever, and refusals."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from cml_tf.datasets import ClassPool, DatasetError, ImageDataset
from cml_tf.datasets.varying_sizes import VaryingSizes
from cml_tf.errors import UserError
from cml_tf.problems import Classification

COUNTS = np.array([7, 30, 9, 12, 7, 20])
WAYS, SHOTS, QUERIES = (2, 4), (1, 5), 2

UNIFORM = [[3, 3, 3, 0], [3, 3, 3, 0], [5, 5, 5, 0], [2, 2, 0, 0], [1, 1, 1, 0], [3, 3, 3, 3]]
META_DATASET = [[2, 1, 1, 0], [2, 2, 1, 0], [2, 3, 5, 0], [1, 1, 0, 0], [3, 5, 5, 0], [1, 2, 2, 2]]


def dataset():
    """Every image says what it is: its class number in row 0, its example number in row 1."""

    def pool(prefix):
        images = np.zeros((COUNTS.sum(), 2, 1, 1), np.uint8)
        images[:, 0, 0, 0] = np.repeat(np.arange(len(COUNTS)), COUNTS)
        images[:, 1, 0, 0] = np.concatenate([np.arange(count) for count in COUNTS])
        return ClassPool(tuple(f"{prefix}{number}" for number in range(len(COUNTS))), COUNTS, images)

    return ImageDataset.from_pools("toy", {split: pool(split) for split in ("train", "validation", "test")})


def largest(seed=0, ways=WAYS[1], shots=SHOTS[1]):
    return dataset().episodes("train", ways=ways, shots=shots, queries=QUERIES, seed=seed)


@functools.cache
def source(sampling, seed=0):
    """Each is traced once for all tests."""
    return VaryingSizes(largest(seed), WAYS, SHOTS, sampling)


@pytest.fixture(scope="module")
def many():
    """The first records of each sampling, for all that looks at records alone."""
    return {sampling: source(sampling).indices(0, 3000) for sampling in ("uniform", "meta_dataset")}


def kinds(test):
    return pytest.mark.parametrize("sampling", ["uniform", "meta_dataset"])(test)


@pytest.mark.slow
@kinds
def test_sizes_keep_to_their_bounds_and_reach_them(sampling, many):
    records = many[sampling]
    shots = records[:, :, 1]
    ways = (shots > 0).sum(1)
    # Uniform: each is binomial(3000, 1/3); five standard deviations.
    assert np.abs(np.bincount(ways, minlength=5)[2:] - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)
    assert (np.sort(shots > 0, axis=1)[:, ::-1] == (shots > 0)).all(), "classes that count come first"
    there = shots[shots > 0]
    assert set(there) == set(range(1, 6))
    spread = shots.max(1) - np.where(shots > 0, shots, 9).min(1)
    assert (spread > 0).any() == (sampling == "meta_dataset")


def test_shots_follow_the_formula_of_meta_dataset(many):
    """More shots for classes with more examples, and never so different that exp(a) in [0.5, 2) would not allow it."""
    records = many["meta_dataset"]
    numbers, shots = records[:, :, 0], records[:, :, 1]
    mean = {number: shots[(numbers == number) & (shots > 0)].mean() for number in range(len(COUNTS))}
    assert mean[1] > mean[5] > mean[3] > mean[0] + 0.2
    alike = (COUNTS[numbers[:, :2]] == 7).all(1) & ((shots > 0).sum(1) == 2)
    assert alike.sum() > 20
    few, many = np.sort(shots[alike, :2], 1).T
    # With shares of at least 1/5, of at most 2 * 5 shots: floor(8 / 5) + 1.
    assert (many <= 4 * few + 3).all() and (few[many == 5] >= 2).all()


@kinds
def test_pixels_labels_and_masks_follow_the_records(sampling, many):
    made = source(sampling)
    records, episode = many[sampling][5:25], made.batch(5, 20)
    np.testing.assert_array_equal(next(iter(made.batches(7, 2))).support.mask, episode.support.mask[2:4])
    assert made.problem == Classification(4) and episode.support.inputs.shape == (20, 20, 2, 1, 1)
    for record, position in zip(records, range(20), strict=True):
        for part, columns in ((episode.support, slice(2, 7)), (episode.query, slice(7, None))):
            counts = part.mask[position].numpy()
            shown = np.rint(part.inputs[position].numpy()[counts, :, 0, 0] * 255).astype(int)
            taken = [
                row[columns][: row[1]] if part is episode.support else row[columns][: row[1] * 9] for row in record
            ]
            expected = [(row[0], one) for row, those in zip(record, taken, strict=True) for one in those]
            np.testing.assert_array_equal(shown, expected)
            labels = np.repeat(np.arange(4), [len(those) for those in taken])
            np.testing.assert_array_equal(part.targets[position].numpy()[counts], labels)
        np.testing.assert_array_equal(episode.classes[position], np.where(record[:, 1] > 0, record[:, 0], -1))


@kinds
def test_an_episode_is_a_function_of_seed_and_number(sampling, many):
    made = source(sampling)
    np.testing.assert_array_equal(made.indices(3, 9), many[sampling][3:12])
    assert (source(sampling, seed=1).indices(0, 12) != many[sampling][:12]).any()
    assert made.fingerprint not in {largest().fingerprint, VaryingSizes(largest(), (3, 4), SHOTS, sampling).fingerprint}


def test_the_stream_is_the_one_that_earlier_runs_used(many):
    """A change here is a break and must be deliberate."""
    assert many["uniform"][:6, :, 1].tolist() == UNIFORM
    assert many["meta_dataset"][:6, :, 1].tolist() == META_DATASET


def test_the_same_episodes_are_there_for_a_model_with_more_room():
    fixed = largest()
    wide = fixed.within(9)
    assert wide.problem == Classification(9) and fixed.problem == Classification(4)
    assert wide.fingerprint == fixed.fingerprint and fixed.within(4) is fixed
    np.testing.assert_array_equal(wide.indices(0, 5), fixed.indices(0, 5))
    with pytest.raises(DatasetError, match="at most 3"):
        fixed.within(3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (((1, 4), SHOTS, "uniform"), "at least 2"),
        (((4, 2), SHOTS, "uniform"), "swap them"),
        ((WAYS, (5,), "uniform"), "two numbers"),
        ((WAYS, SHOTS, "fixed"), "uniform, meta_dataset"),
        ((WAYS, (1, 4), "uniform"), "4 ways and 4 shots"),
    ],
)
def test_bounds_that_are_none_are_refused(arguments, told):
    with pytest.raises(UserError, match=told):
        VaryingSizes(largest(), *arguments)
