"""What every dataset promises, by table: a new dataset is a new row."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import DATASETS, SPLITS, DatasetError, load
from cml_tf.datasets.base import EpisodeSource
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.graphs import graph_npz, planetoid
from cml_tf.episodes import Episode, validate_episode
from cml_tf.problems import Classification, Regression
from tests.helpers.benchmark_files import write_benchmark
from tests.helpers.drawn_images import drawings, write_classes, write_zip
from tests.helpers.graph_files import write_npz_graph, write_planetoid

GRAPHS = {"cora": 2, "citeseer": 2, "amazon_computer": 2, "cora_full": 5, "graph": 2}
WAYS = {"sinusoid": None, "glyphs": 5, "omniglot": 2, "image_folder": 2, **GRAPHS, **dict.fromkeys(BENCHMARKS, 5)}
# Which nobody trains on.
TEST_ONLY = ("gtsrb", "svhn")
# One of each kind; the others differ from these in their files alone (test_benchmarks.py).
KINDS = ("cifar_fs", "gtsrb")
CHECKED = tuple(name for name in DATASETS if name not in BENCHMARKS or name in KINDS)
SHOTS, QUERIES = 1, 2


def write_omniglot(root):
    write_zip(root / "images_background.zip", drawings({"Braille": 3, "Hebrew": 2, "Latin": 2}, count=3))
    write_zip(root / "images_evaluation.zip", drawings({"Tengwar": 3}, count=3))


def write_image_folder(root):
    for split, classes in zip(SPLITS, (["a", "b"], ["c", "d"], ["e", "f", "g"]), strict=True):
        write_classes(root / split, classes)


def write_own_graph(root):
    edges = np.stack([np.arange(60), np.arange(1, 61) % 60], axis=1)
    np.savez(root / "graph.npz", features=np.eye(60), edges=edges, labels=np.arange(60) % 6)


WRITERS = {
    "omniglot": write_omniglot,
    "image_folder": write_image_folder,
    "cora": lambda root: write_planetoid(root, "cora", planetoid.SIZES["cora"]),
    "citeseer": lambda root: write_planetoid(root, "citeseer", planetoid.SIZES["citeseer"], left_out=15),
    "amazon_computer": lambda root: write_npz_graph(
        root / graph_npz.AMAZON_COMPUTER, graph_npz.SIZES[graph_npz.AMAZON_COMPUTER]
    ),
    "cora_full": lambda root: write_npz_graph(root / graph_npz.CORA_FULL, graph_npz.SIZES[graph_npz.CORA_FULL]),
    "graph": write_own_graph,
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    roots = {"sinusoid": "", "glyphs": ""}
    for name, write in WRITERS.items():
        folder = tmp_path_factory.mktemp(name)
        write(folder)
        roots[name] = str(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in KINDS:
            roots[name] = str(tmp_path_factory.mktemp(name))
            write_benchmark(name, Path(roots[name]), patch)
        return {name: load(name, roots[name]) for name in CHECKED}


@pytest.fixture(params=CHECKED)
def dataset(request, datasets):
    return datasets[request.param]


@pytest.fixture
def split(dataset, of_split):
    if of_split not in dataset.splits:
        pytest.skip(f"{dataset.name} has no such split")
    return of_split


def make_source(dataset, split="", seed=0, **changes):
    split = split or dataset.splits[0]
    settings = {"ways": WAYS[dataset.name], "shots": SHOTS, "queries": QUERIES, **changes}
    return dataset.episodes(split, seed=seed, **settings)


def examples(dataset, count):
    return count * (WAYS[dataset.name] or 1)


class Drawn(NamedTuple):
    """The first nine episodes of a split, three a batch."""

    source: EpisodeSource
    specification: Episode
    batches: list[Episode]


@pytest.fixture(scope="module")
def drawn():
    """Draws episodes once for all tests that look at some."""
    done: dict[tuple[str, str], Drawn] = {}

    def draw(dataset, split: str) -> Drawn:
        key = (dataset.name, split)
        if key not in done:
            source = make_source(dataset, split)
            stream = source.batches(0, 3)
            done[key] = Drawn(source, stream.element_spec, list(stream.take(3)))
        return done[key]

    return draw


def test_description(dataset):
    assert dataset.name in DATASETS
    assert dataset.splits == (("test",) if dataset.name in TEST_ONLY else SPLITS)
    source = make_source(dataset)
    if WAYS[dataset.name]:
        assert dataset.problem_kind == "classification"
        assert source.problem == Classification(WAYS[dataset.name])
    else:
        assert dataset.problem_kind == "regression"
        assert isinstance(source.problem, Regression)


@pytest.mark.parametrize("of_split", SPLITS)
def test_batches_are_valid_typed_and_static(dataset, split, drawn):
    source, spec, batches = drawn(dataset, split)
    assert isinstance(spec, Episode)
    dtype = tf.int32 if dataset.name in GRAPHS else tf.float32
    for part, count in ((spec.support, SHOTS), (spec.query, QUERIES)):
        assert part.inputs == tf.TensorSpec([3, examples(dataset, count), *dataset.input_shape], dtype)
        assert part.targets.dtype == (tf.int32 if WAYS[dataset.name] else tf.float32)
        assert part.targets.shape[:2] == [3, examples(dataset, count)]
    low, high = dataset.value_range
    for episode in batches:
        validate_episode(episode, source.problem)
        for part in (episode.support, episode.query):
            assert low <= np.min(part.inputs)
            assert np.max(part.inputs) <= high
            assert np.ptp(part.inputs) > (high - low) / 4  # The range is used.


@pytest.mark.parametrize("of_split", SPLITS)
def test_labels_are_balanced(dataset, split, drawn):
    ways = WAYS[dataset.name]
    if ways is None:
        pytest.skip("regression has no labels")
    for episode in drawn(dataset, split).batches:
        for part, count in ((episode.support, SHOTS), (episode.query, QUERIES)):
            for labels in part.targets.numpy():
                assert np.bincount(labels, minlength=ways).tolist() == [count] * ways


def test_streams_start_anywhere(dataset, drawn):
    source, _, batches = drawn(dataset, dataset.splits[0])
    whole = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *(episode[:2] for episode in batches))
    later = next(iter(source.batches(4, 5)))[:2]
    tf.nest.map_structure(lambda part, tail: np.testing.assert_array_equal(part[4:], tail), whole, later)
    np.testing.assert_array_equal(source.indices(0, 9)[4:], source.indices(4, 5))


def test_streams_are_reproducible_and_distinct(dataset):
    first, again, reseeded = (make_source(dataset, seed=seed) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint == reseeded.fingerprint
    records = first.indices(0, 30)
    np.testing.assert_array_equal(again.indices(0, 30), records)
    assert (reseeded.indices(0, 30) != records).any()
    others = [make_source(dataset, "test", seed=3)] if len(dataset.splits) > 1 else []
    for other in (*others, make_source(dataset, seed=3, queries=1)):
        assert other.fingerprint != first.fingerprint
    assert records.dtype == np.int64
    assert len({record.tobytes() for record in records}) > 15


def test_support_and_query_are_disjoint(dataset, drawn):
    for split in dataset.splits:
        for episode in drawn(dataset, split).batches:
            for support, query in zip(episode.support.inputs.numpy(), episode.query.inputs.numpy(), strict=True):
                assert not {one.tobytes() for one in support} & {one.tobytes() for one in query}


def test_splits_have_no_class_in_common(dataset):
    classes = [set(dataset.class_names(split)) for split in dataset.splits]
    assert sum(map(len, classes)) == len(set.union(*classes))
    assert all(classes) or WAYS[dataset.name] is None


def test_unknown_splits_are_refused(dataset):
    with pytest.raises(DatasetError, match=f"splits {', '.join(dataset.splits)}, received 'dev'"):
        make_source(dataset, "dev")
    with pytest.raises(DatasetError, match="received 'dev'"):
        dataset.class_names("dev")


@pytest.mark.parametrize(
    ("name", "root", "options", "message"),
    [
        ("mnist", "", {}, f"dataset must be one of {', '.join(DATASETS)}, received 'mnist'"),
        ("glyphs", "somewhere", {}, "'glyphs' reads no files: root must be empty, received 'somewhere'"),
        ("sinusoid", "somewhere", {}, "'sinusoid' reads no files"),
        ("glyphs", "", {"image_size": (3, 3)}, "takes the options none; received image_size"),
        ("omniglot", "", {"channels": 1}, "takes the options none; received channels"),
        ("cora", "", {"channels": 1}, "takes the options classes, class_seed, hops; received channels"),
    ],
)
def test_requests_no_dataset_can_meet_are_refused(name, root, options, message):
    with pytest.raises(DatasetError, match=message):
        load(name, root, **options)
