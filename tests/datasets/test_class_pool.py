import dataclasses
import functools

import numpy as np
import pytest

from cml_tf.datasets import ClassPool, DatasetError, ImageDataset
from cml_tf.errors import UserError

COUNTS = (4, 7, 5, 9, 4, 6)


def make_pool(counts=COUNTS, prefix="c"):
    """Every image says what it is: its class number in channel row 0, its example number in row 1."""
    images = np.zeros((sum(counts), 2, 1, 1), np.uint8)
    images[:, 0, 0, 0] = np.repeat(np.arange(len(counts)), counts)
    images[:, 1, 0, 0] = np.concatenate([np.arange(count) for count in counts])
    return ClassPool(tuple(f"{prefix}{number}" for number in range(len(counts))), np.array(counts), images)


def make_dataset(**pools):
    made = {split: make_pool(prefix=split) for split in ("train", "validation", "test")}
    return ImageDataset.from_pools("toy", {**made, **pools})


def new_source(split="train", ways=3, shots=1, queries=3, seed=0, **pools):
    return make_dataset(**pools).episodes(split, ways=ways, shots=shots, queries=queries, seed=seed)


# Each is traced once for all tests; 1 is not True.
make_source = functools.lru_cache(None, typed=True)(new_source)


def test_records_are_legal_choices_without_repetition_all_of_them_even():
    count = 6000
    records = make_source().indices(0, count)
    assert records.shape == (count, 3, 1 + 4) and records.dtype == np.int64
    for record in records[:300]:
        assert len(set(record[:, 0])) == 3
        for number, *chosen in record:
            assert len(set(chosen)) == 4 and min(chosen) >= 0 and max(chosen) < COUNTS[number]
    assert (np.sort(make_source(ways=6).indices(0, 5)[:, :, 0]) == np.arange(6)).all(), "all there is"
    assert len({record.tobytes() for record in records[:50]}) == 50
    labels = np.stack([np.bincount(records[:, way, 0], minlength=6) for way in range(3)])
    # Each of 18 cells is binomial(count, 1/6): five standard deviations.
    assert np.abs(labels - count / 6).max() < 5 * np.sqrt(count * 5 / 36)
    used = records[records[:, :, 0] == 3][:, 1]  # The support example of class 3, which has nine.
    expected = len(used) / COUNTS[3]
    assert np.abs(np.bincount(used, minlength=9) - expected).max() < 5 * np.sqrt(expected)


def test_pixels_and_labels_follow_the_records():
    source = make_source()
    records, episode = source.indices(10, 20), source.batch(10, 20)
    for part, columns in ((episode.support, slice(1, 2)), (episode.query, slice(2, None))):
        shown = np.rint(part.inputs.numpy()[..., 0, 0] * 255).astype(int)
        expected_examples = records[:, :, columns].reshape(20, -1)
        repeats = expected_examples.shape[1] // 3
        np.testing.assert_array_equal(shown[..., 0], np.repeat(records[:, :, 0], repeats, axis=1))
        np.testing.assert_array_equal(shown[..., 1], expected_examples)
        np.testing.assert_array_equal(part.targets, np.tile(np.repeat(np.arange(3), repeats), (20, 1)))


def test_the_stream_is_the_one_that_earlier_runs_used_and_others_differ():
    """Checkpoints and published figures name episodes by number: a change here is a break and must be deliberate."""
    expected = [[[4, 1, 0, 3, 2], [5, 3, 5, 2, 0], [3, 8, 7, 5, 1]]]
    assert make_source(seed=7).indices(123, 1).tolist() == expected
    records = make_source().indices(0, 50)
    for other in (make_source(seed=1), make_source(split="validation"), make_source(seed=2**63 - 1)):
        assert (other.indices(0, 50) != records).any(axis=(1, 2)).mean() > 0.9
    assert make_source().indices(2**40, 2).shape == (2, 3, 5)


def test_fingerprint_covers_content_and_settings_but_not_the_seed():
    same = make_source().fingerprint
    assert len(same) == 64 and int(same, 16) >= 0 and make_source(seed=5).fingerprint == same
    changed = make_pool(prefix="train")
    changed.images[-1, 0, 0, 0] ^= 1
    settings = [{"split": "test"}, {"ways": 2}, {"shots": 2, "queries": 2}, {"queries": 2}]
    pools = [make_pool(prefix="renamed"), make_pool((7, 4, 5, 9, 4, 6), prefix="train"), changed]
    others = [new_source(**other).fingerprint for other in (*settings, *({"train": pool} for pool in pools))]
    assert len({same, *others}) == len(others) + 1


def test_fewer_training_classes_are_some_of_all_and_other_splits_stay():
    """The fewer are among the more; without a limit the stream is that of before there was one (test above)."""
    whole = make_dataset()
    used = {}
    for count in (3, 5):
        dataset = dataclasses.replace(whole, train_classes=count)
        used[count] = dataset.class_names("train")
        source = dataset.episodes("train", ways=3, shots=1, queries=3, seed=0)
        records, episode = source.indices(0, 40), source.batch(0, 40)
        assert set(records[:, :, 0].flat) == set(range(count))
        shown = np.rint(episode.query.inputs.numpy()[..., 0, 0] * 255).astype(int)
        names = np.array([f"train{number}" for number in range(len(COUNTS))])
        drawn = np.array(used[count])[np.repeat(records[:, :, 0], 3, axis=1)]
        np.testing.assert_array_equal(names[shown[..., 0]], drawn, "images are of the classes that records name")
        np.testing.assert_array_equal(shown[..., 1], records[:, :, 2:].reshape(40, -1))
        assert source.fingerprint != make_source().fingerprint
        other = dataset.episodes("test", ways=3, shots=1, queries=3, seed=0)
        assert other.fingerprint == make_source("test").fingerprint and len(dataset.class_names("test")) == 6
    assert set(used[3]) < set(used[5]) < set(whole.class_names("train"))
    assert sorted(used[5]) == list(used[5]), "in the order of the pool"
    with pytest.raises(DatasetError, match="ways must be at most 3, the number of train classes, received 4"):
        dataclasses.replace(whole, train_classes=3).episodes("train", ways=4, shots=1, queries=3, seed=0)
    with pytest.raises(DatasetError, match="train_classes must be at most 6, .* of 'toy', received 7: use 0 for all"):
        dataclasses.replace(whole, train_classes=7)
    with pytest.raises(UserError, match="train_classes must be an integer"):
        dataclasses.replace(whole, train_classes=-1)


def one_pool(names, counts, shape, dtype=np.uint8):
    return lambda: make_dataset(test=ClassPool(tuple(names), np.array(counts), np.zeros(shape, dtype)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_source(ways=7), "at most 6, .*train classes, received 7"),
        (lambda: make_source(shots=2, queries=3), "at most 4, .*'train0' in train, received 2"),
        *(
            (lambda changes={name: value}: make_source(**changes), f"{name} must be an integer")
            for name, value in (("ways", None), ("ways", 1), ("ways", 2.0), ("shots", 0), ("shots", True))
        ),
        (lambda: make_source(queries=0), "queries .*at least 1"),
        (lambda: make_source(seed=-1), "seed .*at least 0"),
        (lambda: make_source(seed=2**63), "seed"),
        (lambda: make_source().batch(0, 0), "count .*at least 1"),
        (lambda: make_source().batches(0, 0), "meta_batch .*at least 1"),
        (one_pool("a", [2], (2, 1, 1, 1), float), "uint8"),
        (one_pool("aa", [1, 1], (2, 1, 1, 1)), "duplicates"),
        (one_pool("ab", [1, 2], (2, 1, 1, 1)), "counts"),
        (one_pool("z", [1], (1, 3, 1, 1)), "shape"),
        (lambda: make_dataset(test=make_pool(prefix="train")), "'train0' is in train and in test"),
        (lambda: ImageDataset.from_pools("toy", {"train": make_pool()}), "missing: validation, test"),
    ],
)
def test_impossible_requests_and_malformed_pools_are_refused(make, message):
    with pytest.raises((DatasetError, ValueError), match=message):
        make()
