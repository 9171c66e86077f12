"""What the image benchmarks refuse: missing, damaged or other files, and requests that they cannot meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import expect_counts


def test_wrong_counts_are_refused(miniature, monkeypatch, tmp_path):
    folder = miniature("gtsrb")
    expect_counts("gtsrb", {"test": 39209}, monkeypatch)
    with pytest.raises(DatasetError, match="gtsrb must have 39209 images in split test, found 129; the files are not"):
        datasets.load("gtsrb", str(folder))
    expect_counts("gtsrb", {"": 130}, monkeypatch)
    with pytest.raises(DatasetError, match="130 images in all splits together, found 129"):
        datasets.load("gtsrb", str(folder))
    (tmp_path / "one" / "00000").mkdir(parents=True)
    (tmp_path / "one" / "00000" / "00000_00000.ppm").write_bytes(b"")
    with pytest.raises(DatasetError, match="images of 43 classes, 42 have none, for example 01.Speed"):
        datasets.load("gtsrb", str(tmp_path / "one"))


def test_files_by_another_checksum_are_refused(miniature):
    path = miniature("gtsrb") / "GTSRB_Final_Training_Images.zip"
    path.write_bytes(path.read_bytes() + b"\\0")
    with pytest.raises(DatasetError, match="must have the published MD5 [0-9a-f]{32}, received [0-9a-f]{32}; download"):
        datasets.load("gtsrb", str(path.parent))


def test_damaged_files_of_tensorflow_datasets_are_refused(miniature, empty_cache):
    folder = miniature("cifar_fs")
    path = folder / "cifar-100-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="cannot be made from the files .* download cifar-100-binary.tar.gz again"):
        datasets.load("cifar_fs", str(folder))
    path.unlink()
    with pytest.raises(
        DatasetError, match="missing: cifar-100-binary.tar.gz. Download them from https://www.cs.toronto"
    ):
        datasets.load("cifar_fs", str(folder))


class Unprepared:
    """A builder of TensorFlow Datasets that nobody has prepared, and whose download would retry for minutes."""

    def __init__(self, data_dir):
        self.data_dir = data_dir

    def is_prepared(self):
        return False

    def download_and_prepare(self):
        raise AssertionError("downloaded")


def test_offline_the_download_is_not_even_tried(empty_cache, tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    asked = []

    def offline(host):
        asked.append(host)
        raise OSError("no route to host")

    monkeypatch.setattr(tfds, "builder", lambda name: Unprepared(tmp_path / "svhn_cropped" / "3.1.0"))
    monkeypatch.setattr("cml_tf.datasets.benchmarks.tfds_sets.check_online", offline)
    with pytest.raises(DatasetError, match=r"svhn_cropped:3.1.0 cannot be had .* go online.*no route to host"):
        datasets.load("svhn")
    assert asked == ["ufldl.stanford.edu"]


def test_offline_without_root_the_error_says_what_to_do(empty_cache, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def offline(name):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tfds, "builder", offline)
    with pytest.raises(DatasetError, match="go online, or set dataset.root to .* 102flowers.tgz.*no route to"):
        datasets.load("vgg_flower")


@pytest.mark.parametrize(
    "name", [name for name, benchmark in BENCHMARKS.items() if isinstance(benchmark.source, Archive)]
)
def test_without_a_root_and_a_network_the_error_says_what_to_do_by_hand(name, empty_cache, offline):
    """Those that ask for an account or agreement are not even tried."""
    direct = {"cub": "data.caltech.edu", "aircraft": "www.robots.ox.ac.uk", "gtsrb": "sid.erda.dk"}
    cause = " .*cannot be downloaded; go online.*no route to host" if name in direct else " .* as dataset.root.$"
    with pytest.raises(
        DatasetError, match=f"{name} needs .* put it into a folder and give that as dataset.root{cause}"
    ):
        datasets.load(name)
    assert offline == [host for benchmark, host in direct.items() if benchmark == name]


@pytest.mark.parametrize(
    ("root", "options", "message"),
    [
        ("nowhere", {}, "the cub root must be a folder"),
        ("", {"image_size": (0, 3)}, r"image_size must be \(height, width\), both positive"),
        ("", {"image_size": 3}, "image_size must be"),
        ("", {"channels": 1}, "takes the options image_size; received channels"),
        (".", {}, r"must hold CUB_200_2011.tgz or what was in it \(001.Black_footed.*found nothing of that; check"),
        (
            "",
            {"image_size": (2**62, 3)},
            r"both positive and at most 4096, received \(4611686018427387904",
        ),
        ("", {"image_size": (84, 4097)}, "at most 4096, received"),
    ],
)
def test_bad_requests(tmp_path, root, options, message, empty_cache):
    with pytest.raises(DatasetError, match=message):
        datasets.load("cub", str(tmp_path / root) if root else "", **options)


def test_training_on_a_set_to_test_on_is_refused(miniature):
    from cml_tf.experiments.experiment import build_experiment
    from cml_tf.experiments.presets import images

    config = images("gtsrb", "maml,smoke")
    config.dataset.root = str(miniature("gtsrb"))
    with pytest.raises(DatasetError, match="'gtsrb' has the splits test, received 'train'"):
        build_experiment(config)


def aircraft_without(folder: Path, monkeypatch, **changes: bytes | None) -> None:
    files = benchmark_files.aircraft()
    for part, content in changes.items():
        place = f"fgvc-aircraft-2013b/data/{part}.txt"
        files.pop(place)
        if content is not None:
            files[place] = content
    path = folder / BENCHMARKS["aircraft"].source.name
    path.write_bytes(benchmark_files.tar_bytes(files))
    benchmark_files.expect_checksum("aircraft", path, monkeypatch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_box": None}, "missing: images_box"),
        ({"images_variant_test": None}, "missing: images_variant_test"),
        ({"images_box": b"0000000 1 2\n"}, "a number and four edges a line, found '0000000 1 2'"),
        ({"images_box": b"0000000 1 2 3 4\n"}, "has no line for 0000001"),
    ],
)
def test_damaged_tables_of_the_aircraft_are_refused(tmp_path, monkeypatch, empty_cache, changes, message):
    aircraft_without(tmp_path, monkeypatch, **changes)
    with pytest.raises(DatasetError, match=message):
        datasets.load("aircraft", str(tmp_path))
