"""Folders that were meant to hold a benchmark: archives under other names, parts of what was unpacked, links."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.storage.archives import files, members
from cml_tf.datasets.storage.cache import cache_directory
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import classes_of, expect_counts, tar_bytes
from tests.helpers.drawn_images import write_tree

pytestmark = pytest.mark.usefixtures("empty_cache")
SIGNS = "GTSRB_Final_Training_Images.zip"


def fingerprints(name, root, **options):
    return [pool.fingerprint for pool in datasets.load(name, str(root), **options).pools.values()]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cub", "CUB_200_2011.tgz?download=1"),
        ("gtsrb", "GTSRB_Final_Training_Images (1).zip"),
        ("aircraft", "fgvc-aircraft-2013b.tar (1).gz"),
        ("mini_imagenet", "download.tar.gz"),
        ("tiered_imagenet", "ILSVRC2012_img_train (1).tar"),
    ],
)
def test_an_archive_under_another_name_is_named(name, file, tmp_path):
    inner = tar_bytes({"n01440764.tar": tar_bytes({"n01440764_1.JPEG": b""}, "w")}, "w")
    write_tree(tmp_path, {file: inner, "notes.txt": b""})
    source = BENCHMARKS[name].source
    with pytest.raises(DatasetError) as caught:
        datasets.load(name, str(tmp_path))
    assert f"must contain {source.name} or its unpacked files ({source.layout}), found neither" in str(caught.value)
    assert f"but found {file!r}: rename it to {source.name} if it is the archive." in str(caught.value)


def test_a_folder_with_the_name_of_the_archive_is_a_folder(tmp_path, monkeypatch):
    write_tree(tmp_path, {"images/1.jpg": b"", f"{SIGNS}/notes.txt": b""})
    with pytest.raises(DatasetError, match=r"\(00014/00003_00029.ppm and so on\), found neither: check"):
        datasets.load("gtsrb", str(tmp_path))
    expect_counts("gtsrb", {}, monkeypatch)
    write_tree(tmp_path / SIGNS, benchmark_files.gtsrb())
    assert len(datasets.load("gtsrb", str(tmp_path)).class_names("test")) == 43


@pytest.mark.parametrize("root", ["CUB_200_2011", "CUB_200_2011/images"])
def test_a_root_within_what_was_unpacked(root, tmp_path, monkeypatch):
    expect_counts("cub", {}, monkeypatch)
    classes = enumerate(classes_of("cub"))
    write_tree(tmp_path, {f"CUB_200_2011/images/{name}/a.jpg": benchmark_files.jpeg(c, 0) for c, name in classes})
    dataset = datasets.load("cub", str(tmp_path / root), image_size=(4, 4))
    assert len(dataset.pools["train"].images) == 100


def test_imagenet_that_was_unpacked_once_is_a_folder_of_tar_files(tmp_path, monkeypatch):
    expect_counts("tiered_imagenet", {}, monkeypatch)
    pictures = {name: benchmark_files.jpeg(c, 0) for c, name in enumerate(classes_of("tiered_imagenet"))}
    once, unpacked = tmp_path / "once", tmp_path / "unpacked"
    write_tree(once, {f"{name}.tar": tar_bytes({"0.JPEG": content}, "w") for name, content in pictures.items()})
    write_tree(unpacked, {f"{name}/0.JPEG": content for name, content in pictures.items()})
    packed, other = (fingerprints("tiered_imagenet", root, image_size=(4, 4)) for root in (once, unpacked))
    assert packed == other
    name = next(iter(pictures))
    (once / f"{name}.tar").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=rf"{name}.tar is damaged \(ReadError.*: download it again"):
        datasets.load("tiered_imagenet", str(once), image_size=(4, 4))


def test_only_the_files_that_are_looked_at_identify_a_folder(tmp_path, monkeypatch, no_decoding):
    expect_counts("gtsrb", {}, monkeypatch)
    write_tree(tmp_path, benchmark_files.gtsrb())
    first = fingerprints("gtsrb", tmp_path)
    write_tree(tmp_path, {"notes.txt": b"mine", "GTSRB/Final_Training/Images/00000/GT-00000.csv": b"changed"})
    with no_decoding("benchmarks.store"):
        assert fingerprints("gtsrb", tmp_path) == first
    os.utime(next(tmp_path.rglob("*.ppm")), ns=(0, 0))
    datasets.load("gtsrb", str(tmp_path))
    assert len(list(cache_directory().glob("gtsrb-*"))) == 2


def test_links_in_a_folder_are_followed_and_a_cycle_ends(tmp_path):
    write_tree(tmp_path, {"else/x.txt": b"x", "else/y.txt": b"y", "root/a/own.txt": b"own"})
    root = tmp_path / "root"
    (root / "b").symlink_to(tmp_path / "else")
    (root / "c").symlink_to("b")
    (root / "a" / "link.txt").symlink_to(tmp_path / "else" / "x.txt")
    (root / "a" / "nowhere.txt").symlink_to("gone")
    (root / "a" / "up").symlink_to("..")
    (tmp_path / "else" / "back").symlink_to(root)
    places = {member.place: member.read() for member in members(root)}
    assert list(places) == ["a/link.txt", "a/own.txt", "b/x.txt", "b/y.txt", "c/x.txt", "c/y.txt"]
    assert places["a/link.txt"] == b"x"
    (root / "round").symlink_to("round")
    with pytest.raises(DatasetError, match="round cannot be read .*; repair it or move it elsewhere"):
        list(members(root))


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_tree(tmp_path, {"00000/00000_00000.ppm": b"", SIGNS: b""})
    real_scan, real_open = os.scandir, Path.open

    def scan(path):
        if Path(path).name == "00000":
            raise PermissionError(13, "Permission denied", str(path))
        return real_scan(path)

    def opened(path, *arguments, **options):
        if path.suffix == ".zip":
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(DatasetError, match=r"Images.zip cannot be read \(Permission denied\); change its permissions"):
        datasets.load("gtsrb", str(tmp_path))
    (tmp_path / SIGNS).unlink()
    with pytest.raises(DatasetError, match=r"/00000 cannot be read \(Permission denied\); change its permissions"):
        datasets.load("gtsrb", str(tmp_path))
    with pytest.raises(DatasetError, match="/00000 cannot be read"):
        list(files(tmp_path))


@pytest.mark.parametrize("row", [float("inf"), float("nan"), None, 10**30])
def test_a_row_that_is_no_number_of_an_image_is_refused(row, tmp_path):
    content = pickle.dumps({"image_data": np.zeros((1, 4, 4, 3), np.uint8), "class_dict": {"n01532829": [row]}}, 2)
    write_tree(tmp_path, {"mini-imagenet-cache-train.pkl": content})
    with pytest.raises(
        DatasetError, match=r"must contain image_data, uint8 .*, and class_dict, each image in one class"
    ):
        datasets.load("mini_imagenet", str(tmp_path))
