import json
import shutil

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.image_files import decode_and_resize
from cml_tf.datasets.image_folder import folders_by_split
from cml_tf.datasets.image_paths import image_files
from tests.helpers.drawn_images import encoded, pixels, write_classes, write_tree

SPLITS = {"train": ["cat", "dog", "emu"], "validation": ["fox", "gnu"], "test": ["hen", "ibis"]}
PICTURE = encoded(pixels(0))


def three_roots(root):
    for split, classes in SPLITS.items():
        write_classes(root / split, classes)


def split_file(root, splits=SPLITS):
    write_classes(root, [name for classes in SPLITS.values() for name in classes])
    (root / "splits.json").write_text(splits if isinstance(splits, str) else json.dumps(splits))


def load(root, **options):
    return datasets.load("image_folder", str(root), **{"image_size": (8, 8), **options})


@pytest.mark.slow
@pytest.mark.parametrize("arrange", [three_roots, split_file])
def test_classes_and_pixels(tmp_path, arrange):
    arrange(tmp_path)
    dataset = load(tmp_path, image_size=(10, 12))
    assert dataset.input_shape == (10, 12, 3)
    for split, classes in SPLITS.items():
        pool, folder = dataset.pools[split], tmp_path / split if arrange is three_roots else tmp_path
        assert dataset.class_names(split) == tuple(classes) and pool.counts.tolist() == [3] * len(classes)
        files = [folder / name / f"{number}.png" for name in classes for number in range(3)]
        np.testing.assert_array_equal(pool.images, [decode_and_resize(f.read_bytes(), (10, 12), 3) for f in files])


@pytest.mark.slow
def test_sizes_kinds_and_numbers_of_files_may_be_mixed_and_what_is_left_out_is_told(tmp_path, caplog):
    three_roots(tmp_path)
    more = {
        "cat/3.JPG": encoded(pixels(5, (40, 30)), "JPEG"),
        "cat/4.bmp": encoded(pixels(6, (9, 9)), "BMP"),
        "cat/more/deep/5.png": encoded(pixels(7, (50, 10), 1)),
        **{"cat/.hidden.png": b"", "cat/notes.txt": b"not an image", ".cache/x": b"", "stray.png": PICTURE},
    }
    write_tree(tmp_path / "train", more)
    dataset = datasets.load("image_folder", str(tmp_path))
    assert dataset.pools["train"].counts.tolist() == [6, 3, 3]
    assert dataset.input_shape == (84, 84, 3), "as mini-ImageNet"
    assert "notes.txt" in caplog.text and "stray.png" in caplog.text
    split_file(tmp_path / "named", {**SPLITS, "train": ["cat", "dog"]})
    assert list(folders_by_split(tmp_path / "named")["train"]) == ["cat", "dog"]
    assert "emu" in caplog.text


def edit(path, change):
    def arrange(root):
        three_roots(root)
        change(root / path)

    return arrange


def with_splits(contents=None, **changes):
    return lambda root: split_file(root, {**SPLITS, **changes} if contents is None else contents)


def clear(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def link(target):
    return lambda path: path.symlink_to(target)


def many_with_a_broken_one(folder):
    write_tree(folder, {f"{number:03d}.png": PICTURE[:50] if number == 99 else PICTURE for number in range(3, 150)})


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (lambda root: None, "missing: train, validation, test"),
        (edit("test", clear), "test must contain a folder for every class"),
        (edit("train/dog", clear), "dog must contain images .*found none"),
        (edit("train/dog", many_with_a_broken_one), "dog/099.png cannot be read"),
        (edit("test", lambda folder: write_classes(folder, ["cat"])), "'cat' is in train and in test"),
        (edit("train/cat/lost.png", link("gone")), "lost.png is a link to a missing file"),
        (edit("train/cat/round", link("..")), "round.* is a link to a folder that contains it"),
        (with_splits("[" * 100_000), "splits.json .*too deeply nested"),
        (with_splits([]), "splits.json .*found list"),
        (with_splits({"train": ["cat"], "test": ["hen"]}), "splits.json .*found train, test"),
        (with_splits(extra=["cat"]), "splits.json .*extra"),
        (with_splits(train=[]), "'train' is not a list"),
        (with_splits(train=["cat", 3]), "'train' is not a list"),
        (with_splits(train=["cat", "cat"]), "cat twice in 'train'"),
        (with_splits(train=["cat", "hen"]), "'hen' is in train and in test"),
        (with_splits(train=["cat", "../cat"]), "classes without a folder .*../cat"),
    ],
)
def test_bad_folders_are_named(tmp_path, arrange, message):
    arrange(tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_links_are_followed_and_hidden_folders_are_not(tmp_path):
    hidden = ["cat/__MACOSX/6.png", "cat/.thumbnails/7.png"]
    write_tree(tmp_path, dict.fromkeys(["cat/more/3.jfif", "elsewhere/4.png", *hidden], PICTURE))
    folder = tmp_path / "cat"
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "5.png").symlink_to(tmp_path / "elsewhere" / "4.png")
    assert {str(path) for path in image_files(folder)} == {
        str(folder / name) for name in ("5.png", "linked/4.png", "more/3.jfif")
    }
