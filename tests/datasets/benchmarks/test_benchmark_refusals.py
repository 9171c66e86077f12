"""What the image benchmarks refuse: missing, damaged or other files, and requests that they cannot meet."""

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive
from cml_tf.experiments.experiment import build_experiment
from cml_tf.experiments.presets import images
from tests.helpers import benchmark_files

ARCHIVES = [name for name, benchmark in BENCHMARKS.items() if isinstance(benchmark.source, Archive)]


def test_files_by_another_checksum_are_refused(miniature):
    path = miniature("gtsrb") / "GTSRB_Final_Training_Images.zip"
    path.write_bytes(path.read_bytes() + b"\\0")
    with pytest.raises(DatasetError, match="must have the published MD5 [0-9a-f]{32}, received [0-9a-f]{32}; download"):
        datasets.load("gtsrb", str(path.parent))


@pytest.mark.parametrize("name", ARCHIVES)
def test_without_a_root_and_a_network_the_error_says_what_to_do_by_hand(name, empty_cache, offline):
    """Those that ask for an account or agreement are not even tried."""
    direct = {"cub": "data.caltech.edu", "aircraft": "www.robots.ox.ac.uk", "gtsrb": "sid.erda.dk"}
    cause = " .*cannot be downloaded: go online.*no route to host" if name in direct else " .* as dataset.root.$"
    with pytest.raises(DatasetError, match=f"{name} needs .* put it into a folder .* dataset.root{cause}"):
        datasets.load(name)
    assert offline == [host for benchmark, host in direct.items() if benchmark == name]


@pytest.mark.parametrize(
    ("root", "options", "message"),
    [
        ("nowhere", {}, "the root of cub must be a folder"),
        (".", {}, r"must contain CUB_200_2011.tgz or its unpacked files \(001.Black_footed.*found neither: check"),
        ("", {"channels": 1}, r"has no option channels \(its options: image_size\)"),
        ("", {"image_size": 3}, "image_size must be"),
        ("", {"image_size": (0, 3)}, r"image_size must be \(height, width\), both positive"),
        ("", {"image_size": (2**62, 3)}, r"both positive and at most 4096, received \(4611686018427387904"),
        ("", {"image_size": (84, 4097)}, "at most 4096, received"),
    ],
)
def test_bad_requests(tmp_path, root, options, message, empty_cache):
    with pytest.raises(DatasetError, match=message):
        datasets.load("cub", str(tmp_path / root) if root else "", **options)


def test_training_on_a_set_to_test_on_is_refused(miniature):
    config = images("gtsrb", "maml,smoke")
    config.dataset.root = str(miniature("gtsrb"))
    with pytest.raises(DatasetError, match="split of the dataset 'gtsrb' must be one of test, received 'train'"):
        build_experiment(config)


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("images_box", None, "missing: images_box"),
        ("images_variant_test", None, "missing: images_variant_test"),
        ("images_box", b"0000000 1 2\n", "a number and four edges, found '0000000 1 2'"),
        ("images_box", b"0000000 1 2 3 4\n", "has no line for 0000001"),
    ],
)
def test_damaged_tables_of_the_aircraft_are_refused(tmp_path, monkeypatch, empty_cache, part, content, message):
    files = {**benchmark_files.aircraft(), f"fgvc-aircraft-2013b/data/{part}.txt": content}
    path = tmp_path / BENCHMARKS["aircraft"].source.name
    path.write_bytes(benchmark_files.tar_bytes({place: file for place, file in files.items() if file is not None}))
    benchmark_files.expect_checksum("aircraft", path, monkeypatch)
    with pytest.raises(DatasetError, match=message):
        datasets.load("aircraft", str(tmp_path))
