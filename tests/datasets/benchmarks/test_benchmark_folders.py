"""Folders of benchmarks: parts of what was unpacked, archives under other names, and what is refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.storage.cache import cache_directory
from cml_tf.experiments.experiment import build_experiment
from cml_tf.experiments.presets import images
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import classes_of, expect_counts, jpeg, tar_bytes
from tests.helpers.drawn_images import write_tree

pytestmark = pytest.mark.usefixtures("empty_cache")
SIGNS = "GTSRB_Final_Training_Images.zip"
SMALL = {"image_size": (4, 4)}
AIRCRAFT = "fgvc-aircraft-2013b/data"


def fingerprints(name, root, **options):
    return [pool.fingerprint for pool in datasets.load(name, str(root), **options).pools.values()]


def rows(row):
    pickled = pickle.dumps({"image_data": np.zeros((1, 4, 4, 3), np.uint8), "class_dict": {"n01532829": [row]}}, 2)
    return {"mini-imagenet-cache-train.pkl": pickled}


def aircraft(part, content):
    files = {**benchmark_files.aircraft(), f"{AIRCRAFT}/{part}.txt": content}
    return {place: file for place, file in files.items() if file is not None}


TAR = tar_bytes({"n01440764.tar": tar_bytes({"n01440764_1.JPEG": b""}, "w")}, "w")


@pytest.mark.parametrize(
    ("name", "files", "options", "message"),
    [
        # What looks like the archive under another name is named.
        *(
            (
                name,
                {file: TAR, "notes.txt": b""},
                {},
                f"must contain {archive} .*neither.* rename it to {archive}",
            )
            for name, file, archive in (
                ("gtsrb", "GTSRB_Final_Training_Images (1).zip", SIGNS),
                ("tiered_imagenet", "ILSVRC2012_img_train (1).tar", "ILSVRC2012_img_train.tar"),
            )
        ),
        ("gtsrb", {"images/1.jpg": b"", f"{SIGNS}/notes.txt": b""}, {}, "00014/00003_00029.ppm"),
        ("gtsrb", {SIGNS: b"another file"}, {}, "MD5 [0-9a-f]{32}, received [0-9a-f]{32}: download"),
        *(("mini_imagenet", rows(row), {}, "image_data.*class_dict") for row in (float("nan"), None, 10**30)),
        ("cub", None, {}, "root of cub must be a folder"),
        ("cub", {}, {}, r"must contain CUB_200_2011.tgz .*001.Black_footed.*found neither"),
        ("cub", {}, {"channels": 1}, "no option channels .*image_size"),
        ("cub", {}, {"image_size": (0, 3)}, "image_size must be"),
        ("cub", {}, {"image_size": (84, 4097)}, "at most 4096"),
        ("aircraft", aircraft("images_box", None), {}, "missing: images_box"),
        ("aircraft", aircraft("images_box", b"0000000 1 2\n"), {}, "found '0000000 1 2'"),
        ("aircraft", aircraft("images_box", b"0000000 1 2 3 4\n"), {}, "no line for 0000001"),
    ],
)
def test_refused_folders(tmp_path, name, files, options, message):
    write_tree(tmp_path, files or {})
    with pytest.raises(DatasetError, match=message):
        datasets.load(name, str(tmp_path if files is not None else tmp_path / "nowhere"), **options)


@pytest.mark.parametrize("name", ["cub", "aircraft", "gtsrb", "mini_imagenet", "tiered_imagenet"])
def test_without_a_root_and_a_network_the_error_says_what_to_do_by_hand(name, offline):
    """Those that ask for an account or agreement are not even tried."""
    direct = {"cub": "data.caltech.edu", "aircraft": "www.robots.ox.ac.uk", "gtsrb": "sid.erda.dk"}
    cause = " .*no route to host" if name in direct else " to that folder"
    with pytest.raises(DatasetError, match=f"{name} is not prepared .* needs .* dataset.root{cause}"):
        datasets.load(name)
    assert offline == [host for benchmark, host in direct.items() if benchmark == name]


def test_training_on_a_set_to_test_on_is_refused(miniature):
    config = images("gtsrb", "maml,smoke")
    config.dataset.root = str(miniature("gtsrb"))
    with pytest.raises(DatasetError, match="'gtsrb' must be one of test, received 'train'"):
        build_experiment(config)


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_tree(tmp_path, {"00000/00000_00000.ppm": b"", SIGNS: b""})

    def forbidden(function, wanted):
        def call(path, *arguments, **options):
            if wanted(Path(path)):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(os, "scandir", forbidden(os.scandir, lambda path: path.name == "00000"))
    monkeypatch.setattr(Path, "open", forbidden(Path.open, lambda path: path.suffix == ".zip"))
    for name in (SIGNS, "00000"):
        with pytest.raises(DatasetError, match=f"/{name} .*Permission denied"):
            datasets.load("gtsrb", str(tmp_path))
        (tmp_path / SIGNS).unlink(missing_ok=True)


def test_only_files_that_are_looked_at_identify_a_folder_which_may_be_called_as_the_archive(
    tmp_path, monkeypatch, no_decoding
):
    expect_counts("gtsrb", {}, monkeypatch)
    write_tree(tmp_path / SIGNS, benchmark_files.gtsrb())
    first = fingerprints("gtsrb", tmp_path)
    write_tree(tmp_path, {"notes.txt": b"mine", f"{SIGNS}/GTSRB/Final_Training/Images/00000/GT-00000.csv": b"changed"})
    with no_decoding("benchmarks.store"):
        assert fingerprints("gtsrb", tmp_path) == first
    os.utime(next(tmp_path.rglob("*.ppm")), ns=(0, 0))
    datasets.load("gtsrb", str(tmp_path))
    assert len([path for path in cache_directory().glob("gtsrb-*") if path.is_dir()]) == 2


@pytest.mark.slow
def test_a_root_within_what_was_unpacked(tmp_path, monkeypatch):
    expect_counts("cub", {}, monkeypatch)
    write_tree(tmp_path, {f"CUB_200_2011/images/{n}/a.jpg": jpeg(c, 0) for c, n in enumerate(classes_of("cub"))})
    upper, lower = (fingerprints("cub", tmp_path / root, **SMALL) for root in ("CUB_200_2011", "CUB_200_2011/images"))
    assert upper == lower and len(upper) == 3


@pytest.mark.slow
def test_imagenet_that_was_unpacked_once_is_a_folder_of_tar_files(tmp_path, monkeypatch):
    expect_counts("tiered_imagenet", {}, monkeypatch)
    pictures = {name: jpeg(c, 0) for c, name in enumerate(classes_of("tiered_imagenet"))}
    once, unpacked = tmp_path / "once", tmp_path / "unpacked"
    write_tree(once, {f"{name}.tar": tar_bytes({"0.JPEG": content}, "w") for name, content in pictures.items()})
    write_tree(unpacked, {f"{name}/0.JPEG": content for name, content in pictures.items()})
    packed, other = (fingerprints("tiered_imagenet", root, **SMALL) for root in (once, unpacked))
    assert packed == other
    name = next(iter(pictures))
    (once / f"{name}.tar").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=rf"{name}.tar is damaged \(ReadError"):
        datasets.load("tiered_imagenet", str(once), **SMALL)
