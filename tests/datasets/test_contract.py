"""What every dataset promises, by table: a new dataset is a new row."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import DATASETS, SPLITS, DatasetError, load
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.graphs import graph_npz, planetoid
from cml_tf.episodes import validate_episode
from cml_tf.problems import Classification, Regression
from tests.helpers.benchmark_files import write_benchmark
from tests.helpers.drawn_images import drawings, write_classes, write_zip
from tests.helpers.graph_files import write_npz_graph, write_planetoid

GRAPHS = {"citeseer": 2, "cora_full": 5, "graph": 2}
FORMULAS = ("sinusoid", "alpine")
IMAGES = {"glyphs": 5, "omniglot": 2, "image_folder": 2, **dict.fromkeys(BENCHMARKS, 5)}
WAYS = {**dict.fromkeys(FORMULAS), **IMAGES, **GRAPHS}
# Which nobody trains on.
TEST_ONLY = ("gtsrb", "svhn")
# One of each kind; the others differ from these in their files or formula alone, which have tests of their own
# (test_benchmarks.py, test_published_graphs.py, test_surfaces.py).
KINDS = ("cifar_fs", "gtsrb")
ALIKE = {*BENCHMARKS, "cora", "amazon_computer", "cosmixture", "shifted_sinusoid"} - {*KINDS}
CHECKED = tuple(name for name in DATASETS if name not in ALIKE)
SHOTS, QUERIES = 1, 2


def write_omniglot(root):
    write_zip(root / "images_background.zip", drawings({"Braille": 3, "Hebrew": 2, "Latin": 2}, count=3))
    write_zip(root / "images_evaluation.zip", drawings({"Tengwar": 3}, count=3))


def write_image_folder(root):
    for split, classes in zip(SPLITS, ("ab", "cd", "efg"), strict=True):
        write_classes(root / split, classes)


def write_own_graph(root):
    edges = np.stack([np.arange(60), np.arange(1, 61) % 60], axis=1)
    np.savez(root / "graph.npz", features=np.eye(60), edges=edges, labels=np.arange(60) % 6)


WRITERS = {
    "omniglot": write_omniglot,
    "image_folder": write_image_folder,
    "citeseer": lambda root: write_planetoid(root, "citeseer", planetoid.SIZES["citeseer"], left_out=15),
    "cora_full": lambda root: write_npz_graph(root / graph_npz.CORA_FULL, graph_npz.SIZES[graph_npz.CORA_FULL]),
    "graph": write_own_graph,
}


@pytest.fixture(scope="module", params=CHECKED)
def dataset(request, tmp_path_factory):
    name, root = request.param, tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if name in KINDS:
            write_benchmark(name, Path(root), patch)
        elif name in WRITERS:
            WRITERS[name](root)
        return load(name, str(root) if name in (*KINDS, *WRITERS) else "")


@pytest.fixture(scope="module")
def drawn(dataset):
    """Of the first split nine episodes of the stream, three a batch; of the last one as many at once: with sources."""
    first, last = (make_source(dataset, split) for split in (dataset.splits[0], dataset.splits[-1]))
    stream = first.batches(0, 3)
    return first, stream.element_spec, list(stream.take(3)), last, last.batch(0, 3)


def make_source(dataset, split="", seed=0, **changes):
    settings = {"ways": WAYS[dataset.name], "shots": SHOTS, "queries": QUERIES, **changes}
    return dataset.episodes(split or dataset.splits[0], seed=seed, **settings)


def test_batches_are_valid_typed_and_static(dataset, drawn):
    source, spec, batches, last, of_last = drawn
    ways, dtype = WAYS[dataset.name], tf.int32 if dataset.name in GRAPHS else tf.float32
    low, high = dataset.value_range
    assert dataset.splits == (("test",) if dataset.name in TEST_ONLY else SPLITS)
    assert dataset.problem_kind == ("classification" if ways else "regression")
    assert source.problem == last.problem == (Classification(ways) if ways else Regression(1))
    for part, count in zip(spec[:2], (SHOTS, QUERIES), strict=True):
        assert part.inputs == tf.TensorSpec([3, count * (ways or 1), *dataset.input_shape], dtype)
        assert part.targets.dtype == (tf.int32 if ways else tf.float32)
        assert part.targets.shape[:2] == [3, count * (ways or 1)]
    for episode in (*batches, of_last):
        validate_episode(episode, source.problem)
        for part, count in zip(episode[:2], (SHOTS, QUERIES), strict=True):
            assert low <= np.min(part.inputs) and np.max(part.inputs) <= high
            assert np.ptp(part.inputs) > (high - low) / 4  # The range is used.
            for labels in part.targets.numpy() if ways else ():
                assert np.bincount(labels, minlength=ways).tolist() == [count] * ways
        for support, query in zip(episode.support.inputs.numpy(), episode.query.inputs.numpy(), strict=True):
            assert not {one.tobytes() for one in support} & {one.tobytes() for one in query}


def test_streams_are_functions_of_seed_split_and_number(dataset, drawn):
    source, _, batches, last, _ = drawn
    again, reseeded = (make_source(dataset, seed=seed) for seed in (0, 1))
    assert source.fingerprint == again.fingerprint == reseeded.fingerprint
    records = again.indices(4, 30)
    assert records.dtype == np.int64 and len({record.tobytes() for record in records}) > 15
    assert (reseeded.indices(4, 30) != records).any()
    for other in (*[last] * (len(dataset.splits) > 1), make_source(dataset, queries=1)):
        assert other.fingerprint != source.fingerprint
    # Episodes 4 and 8, from a source that begins there, are the second one of the second batch and the last of all.
    for number, batch, place in ((4, batches[1], 1), (8, batches[2], 2)):
        assembled = again.assemble(tf.constant(records[number - 4]))[:2]
        drawn_there = tf.nest.map_structure(lambda part, place=place: part[place], batch[:2])
        tf.nest.map_structure(np.testing.assert_array_equal, assembled, drawn_there)


def test_nobody_waits_for_a_pipeline_to_end(drawn):
    """The thread that would tune it may sleep on for as long as it ran, up to a minute."""
    assert drawn[0].batches(0, 3).options().autotune.enabled is False


def test_splits_have_no_class_in_common_and_unknown_ones_are_refused(dataset):
    classes = [set(dataset.class_names(split)) for split in dataset.splits]
    assert sum(map(len, classes)) == len(set.union(*classes))
    assert all(classes) or WAYS[dataset.name] is None
    with pytest.raises(DatasetError, match=f"must be one of {', '.join(dataset.splits)}, received 'dev'"):
        make_source(dataset, "dev")
    with pytest.raises(DatasetError, match="received 'dev'"):
        dataset.class_names("dev")


@pytest.mark.parametrize(
    ("name", "root", "options", "message"),
    [
        ("mnist", "", {}, f"{', '.join(DATASETS)}, received 'mnist'"),
        ("glyphs", "somewhere", {}, "'glyphs', which reads no files.* 'somewhere'"),
        ("cora", "", {"channels": 1}, "no option channels .*classes, class_seed, hops"),
        ("image_folder", "", {"size": (8, 8)}, "no option size .*image_size, channels"),
        ("image_folder", ".", {"channels": 4}, "channels must be 1"),
        ("image_folder", ".", {"image_size": (8.5, 8)}, "image_size must be"),
        ("image_folder", "", {}, "needs the folder"),
        ("image_folder", "nowhere", {}, "received .*nowhere"),
        ("omniglot", "nowhere", {}, "must be a folder"),
        ("graph", "", {}, "graph needs the folder"),
    ],
)
def test_requests_no_dataset_can_meet_are_refused(name, root, options, message):
    with pytest.raises(DatasetError, match=message):
        load(name, root, **options)
