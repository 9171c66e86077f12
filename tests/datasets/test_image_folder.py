from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.image_files import decode_and_resize, scale
from cml_tf.datasets.image_paths import image_files
from tests.helpers.drawn_images import encoded, pixels, write_classes

SPLITS = {"train": ["cat", "dog", "emu"], "validation": ["fox", "gnu"], "test": ["hen", "ibis"]}


def three_roots(root):
    for split, classes in SPLITS.items():
        write_classes(root / split, classes)


def split_file(root, splits=SPLITS):
    write_classes(root, [name for classes in SPLITS.values() for name in classes])
    (root / "splits.json").write_text(json.dumps(splits))


@pytest.mark.parametrize("arrange", [three_roots, split_file])
def test_classes_and_pixels(tmp_path, arrange):
    arrange(tmp_path)
    dataset = datasets.load("image_folder", str(tmp_path), image_size=(10, 12))
    assert dataset.input_shape == (10, 12, 3)
    for split, classes in SPLITS.items():
        assert dataset.class_names(split) == tuple(classes)
        pool = dataset.pools[split]
        assert pool.counts.tolist() == [3] * len(classes)
        folder = tmp_path / split if arrange is three_roots else tmp_path
        expected = [
            decode_and_resize((folder / name / f"{number}.png").read_bytes(), (10, 12), 3)
            for name in classes
            for number in range(3)
        ]
        np.testing.assert_array_equal(pool.images, expected)


def test_episodes_hold_what_serving_would_compute_from_the_files(tmp_path):
    three_roots(tmp_path)
    source = datasets.load("image_folder", str(tmp_path), image_size=(8, 8), channels=1).episodes(
        "test", ways=2, shots=1, queries=2, seed=0
    )
    (record,), episode = source.indices(0, 1), source.batch(0, 1)
    for way, (number, support, *_) in enumerate(record):
        contents = (tmp_path / "test" / SPLITS["test"][number] / f"{support}.png").read_bytes()
        np.testing.assert_array_equal(episode.support.inputs[0, way], scale(decode_and_resize(contents, (8, 8), 1)))


def test_sizes_kinds_and_numbers_of_files_may_be_mixed(tmp_path, caplog):
    three_roots(tmp_path)
    folder = tmp_path / "train" / "cat"
    (folder / "3.JPG").write_bytes(encoded(pixels(5, (40, 30)), "JPEG"))
    (folder / "4.bmp").write_bytes(encoded(pixels(6, (9, 9)), "BMP"))
    (folder / "5.png").write_bytes(encoded(pixels(7, (50, 10), 1)))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".cache").mkdir()
    with caplog.at_level(logging.WARNING):
        dataset = datasets.load("image_folder", str(tmp_path), image_size=(16, 20))
    assert dataset.pools["train"].counts.tolist() == [6, 3, 3]
    assert dataset.input_shape == (16, 20, 3)
    assert "1 files are no PNG, JPEG, BMP or GIF and are left out: notes.txt." in caplog.text


def test_default_size_is_that_of_mini_imagenet(tmp_path):
    three_roots(tmp_path)
    assert datasets.load("image_folder", str(tmp_path)).input_shape == (84, 84, 3)


def test_folders_that_the_split_file_does_not_name_are_left_out(tmp_path, caplog):
    split_file(tmp_path, {**SPLITS, "train": ["cat", "dog"]})
    with caplog.at_level(logging.WARNING):
        dataset = datasets.load("image_folder", str(tmp_path))
    assert dataset.class_names("train") == ("cat", "dog")
    assert "emu" in caplog.text


def test_a_class_with_too_few_images_is_named_when_episodes_are_asked_for(tmp_path):
    three_roots(tmp_path)
    (tmp_path / "test" / "hen" / "2.png").unlink()
    dataset = datasets.load("image_folder", str(tmp_path))
    dataset.episodes("train", ways=2, shots=1, queries=2, seed=0)
    with pytest.raises(DatasetError, match="at most 2, the examples of class 'hen' of test, received 1 \\+ 2"):
        dataset.episodes("test", ways=2, shots=1, queries=2, seed=0)


def edit(path, change):
    def arrange(root):
        three_roots(root)
        change(root / path)

    return arrange


def with_splits(contents):
    def arrange(root):
        split_file(root)
        (root / "splits.json").write_text(contents if isinstance(contents, str) else json.dumps(contents))

    return arrange


def clear(folder):
    for file in folder.iterdir():
        file.unlink()


def clear_tree(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (lambda root: None, "must hold the folders train, validation and test.*missing: train, validation, test"),
        (edit("validation", shutil.rmtree), "missing: validation"),
        (edit("test", clear_tree), "test must hold a folder for every class, found none"),
        (edit("train/dog", clear), "dog must hold images .*found none"),
        (edit("train/dog/1.png", lambda file: file.write_bytes(b"x")), "train/dog/1.png cannot be read as a PNG"),
        (edit("train/dog/1.png", lambda file: file.write_bytes(b"")), "train/dog/1.png cannot be read as a PNG"),
        (edit("test/ibis/2.png", lambda f: f.write_bytes(f.read_bytes()[:50])), "test/ibis/2.png cannot be read"),
        (edit("test", lambda folder: write_classes(folder, ["cat"])), "'cat' is in train and in test"),
        (with_splits("{"), "splits.json must hold .*cannot be read"),
        (with_splits("[" * 100_000), "splits.json must hold .*nested too deeply"),
        (with_splits([]), "splits.json must hold .*found list"),
        (with_splits({}), "splits.json must hold .*found nothing"),
        (with_splits({"train": ["cat"], "test": ["hen"]}), "splits.json must hold .*found train, test"),
        (with_splits({**SPLITS, "extra": ["cat"]}), "splits.json must hold .*extra"),
        (with_splits({**SPLITS, "train": []}), "'train' is not a list of at least one class"),
        (with_splits({**SPLITS, "train": "cat"}), "'train' is not a list"),
        (with_splits({**SPLITS, "train": ["cat", 3]}), "'train' is not a list"),
        (with_splits({**SPLITS, "train": ["cat", "cat"]}), "names cat twice in 'train'"),
        (with_splits({**SPLITS, "train": ["cat", "hen"]}), "'hen' is in train and in test"),
        (with_splits({**SPLITS, "train": ["cat", "yak"]}), "classes that have no folder .*yak"),
        (with_splits({**SPLITS, "train": ["cat", "../cat"]}), "classes that have no folder .*../cat"),
    ],
)
def test_bad_folders_are_named(tmp_path, arrange, message):
    arrange(tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        datasets.load("image_folder", str(tmp_path), image_size=(8, 8))
    assert "\n" not in str(caught.value)


def test_the_unreadable_file_is_found_among_many(tmp_path):
    three_roots(tmp_path)
    for number in range(3, 150):
        shutil.copy(tmp_path / "train" / "dog" / "0.png", tmp_path / "train" / "dog" / f"{number:03d}.png")
    (tmp_path / "train" / "dog" / "099.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="dog/099.png cannot be read"):
        datasets.load("image_folder", str(tmp_path), image_size=(8, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "channels must be 1"),
        ({"image_size": (0, 8)}, "image_size must be"),
        ({"image_size": 84}, "image_size must be"),
        ({"image_size": (8, 8, 3)}, "image_size must be"),
        ({"image_size": (8.5, 8)}, "image_size must be"),
        ({"size": (8, 8)}, "takes the options image_size, channels; received size"),
    ],
)
def test_bad_options_are_named(tmp_path, options, message):
    three_roots(tmp_path)
    with pytest.raises(DatasetError, match=message):
        datasets.load("image_folder", str(tmp_path), **options)


@pytest.mark.parametrize(("root", "message"), [("", "needs a root"), ("nowhere", "nowhere is none")])
def test_a_missing_root_is_named(tmp_path, root, message):
    with pytest.raises(DatasetError, match=message):
        datasets.load("image_folder", str(tmp_path / root) if root else root)


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(pixels(seed)))


def test_pictures_in_subfolders_belong_to_the_class_and_links_are_followed(tmp_path):
    three_roots(tmp_path)
    folder = tmp_path / "train" / "cat"
    picture(folder / "more" / "deep" / "3.jfif")
    picture(tmp_path / "elsewhere" / "4.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "5.png").symlink_to(tmp_path / "elsewhere" / "4.png")
    picture(folder / "__MACOSX" / "6.png")
    picture(folder / ".thumbnails" / "7.png")
    assert len(image_files(folder)) == len(image_files(tmp_path / "train" / "dog")) + 3
    names = [Path(path).relative_to(folder).as_posix() for path in image_files(folder)]
    assert {"more/deep/3.jfif", "linked/4.png", "5.png"} <= set(names) and not any("MACOSX" in name for name in names)


@pytest.mark.parametrize("place", ["train", "train/cat"])
def test_links_to_nothing_and_in_circles_are_named(tmp_path, place):
    three_roots(tmp_path)
    (tmp_path / place / "lost.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="lost.png is a link to what is not there: remove it"):
        datasets.load("image_folder", str(tmp_path), image_size=(16, 16))
    (tmp_path / place / "lost.png").unlink()
    (tmp_path / "train" / "cat" / "round").symlink_to(tmp_path / "train")
    with pytest.raises(DatasetError, match="round.* is a link to a folder that it lies in: remove the link"):
        datasets.load("image_folder", str(tmp_path), image_size=(16, 16))


def test_pictures_beside_the_folders_of_classes_are_told(tmp_path, caplog):
    three_roots(tmp_path)
    picture(tmp_path / "train" / "stray.png")
    with caplog.at_level(logging.WARNING):
        datasets.load("image_folder", str(tmp_path), image_size=(16, 16))
    assert "images beside the folders of classes are left out: stray.png." in caplog.text
