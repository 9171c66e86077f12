import io
import logging
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cml_tf import datasets
from cml_tf.datasets.image_files import decode_and_resize
from tests.helpers.drawn_images import drawings, write_tree, write_zip
from tests.helpers.small_omniglot import BACKGROUND, EVALUATION, write_pair

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "omniglot_small"


def names(dataset, split):
    return {name.split("/")[0] for name in dataset.class_names(split)}


def fingerprints(root):
    return [pool.fingerprint for pool in datasets.load("omniglot", str(root)).pools.values()]


def assert_is_the_miniature(dataset):
    assert names(dataset, "train") == {"Greek", "Korean"}
    assert names(dataset, "validation") == {"Early_Aramaic"}
    assert names(dataset, "test") == {"Sanskrit", "Tagalog"}
    assert [len(dataset.class_names(split)) for split in dataset.splits] == [(3 + 2) * 4, 2, 2 + 3]
    assert dataset.input_shape == (28, 28, 1)


@pytest.mark.parametrize(
    "pair", [("images_background", "images_evaluation"), ("images_background_small1", "images_background_small2")]
)
def test_original_zip_files(tmp_path, pair):
    write_pair(tmp_path, pair)
    dataset = datasets.load("omniglot", str(tmp_path))
    assert_is_the_miniature(dataset)
    # Pixels are those of the one preprocessing function.
    pool = dataset.pools["test"]
    position = pool.class_names.index("Tagalog/character02")
    contents = drawings(EVALUATION)["Tagalog/character02/01.png"]
    np.testing.assert_array_equal(pool.images[2 * position + 1], decode_and_resize(contents, (28, 28), 1))


def test_folders_are_the_same_as_zip_files(tmp_path):
    write_pair(tmp_path / "unpacked", write=write_tree, suffix="")
    (tmp_path / "packed").mkdir()
    write_pair(tmp_path / "packed")
    assert fingerprints(tmp_path / "unpacked") == fingerprints(tmp_path / "packed")


def test_folder_of_alphabets_holds_out_the_last_ones(tmp_path):
    write_tree(tmp_path, drawings({letter: 2 for letter in "ABCDEFGHIJK"}))
    dataset = datasets.load("omniglot", str(tmp_path))
    assert names(dataset, "test") == set("JK")
    assert names(dataset, "validation") == {"I"}
    assert names(dataset, "train") == set("ABCDEFGH")


def test_training_classes_are_turned_and_others_are_not(tmp_path):
    write_pair(tmp_path)
    dataset = datasets.load("omniglot", str(tmp_path))
    pool = dataset.pools["train"]
    images = {name: pool.images[2 * number : 2 * number + 2] for number, name in enumerate(pool.class_names)}
    for turns in range(4):
        upright, turned = images["Korean/character01/rot000"], images[f"Korean/character01/rot{90 * turns:03d}"]
        for before, after in zip(upright, turned, strict=True):
            np.testing.assert_array_equal(np.rot90(before, turns), after)
    for split in ("validation", "test"):
        assert not any("rot" in name for name in dataset.class_names(split))


def test_the_second_load_decodes_nothing_and_changed_files_are_read_again(tmp_path, no_decoding):
    write_pair(tmp_path)
    first = fingerprints(tmp_path)
    with no_decoding("omniglot.dataset"):
        assert fingerprints(tmp_path) == first
        write_zip(tmp_path / "images_evaluation.zip", drawings({**EVALUATION, "Tifinagh": 2}))
        with pytest.raises(AssertionError, match="decoded again"):
            datasets.load("omniglot", str(tmp_path))
    assert "Tifinagh" in names(datasets.load("omniglot", str(tmp_path)), "test")


def test_hidden_and_foreign_files_are_passed_over(tmp_path):
    write_pair(tmp_path)
    hidden = "__MACOSX/images_evaluation/Greek/character01/._01.png", "images_evaluation/Greek/character01/.hidden.png"
    with zipfile.ZipFile(tmp_path / "images_evaluation.zip", "a") as archive:
        for name in (*hidden, "images_evaluation/README.txt"):
            archive.writestr(name, b"")
    assert_is_the_miniature(datasets.load("omniglot", str(tmp_path)))


def test_without_root_tensorflow_datasets_gives_the_drawings(empty_cache, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    alphabets = sorted({*BACKGROUND, *EVALUATION})

    def as_dataset(split, decoders, shuffle_files):
        assert list(decoders) == ["image"] and not shuffle_files
        files = drawings({"train": BACKGROUND, "test": EVALUATION}[split])
        order = np.random.RandomState(0).permutation(sorted(files))  # It is shuffled on disk.
        labels = [name.replace("/character", "/").split("/") for name in order]
        columns = {
            "image": [files[name] for name in order],
            "alphabet": [alphabets.index(alphabet) for alphabet, *_ in labels],
            "alphabet_char_id": [int(character) - 1 for _, character, _ in labels],
        }
        return tf.data.Dataset.from_tensor_slices(columns)

    info = SimpleNamespace(features={"alphabet": SimpleNamespace(int2str=alphabets.__getitem__)})
    prepared = SimpleNamespace(is_prepared=lambda: True, info=info, as_dataset=as_dataset)
    monkeypatch.setattr(tfds, "builder", lambda name: {"omniglot": prepared}[name])
    assert_is_the_miniature(datasets.load("omniglot"))
    monkeypatch.setattr(tfds, "builder", lambda name: pytest.fail("the cache was not used"))
    assert_is_the_miniature(datasets.load("omniglot"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the small Omniglot sets are not beside the checkout")
def test_the_real_small_sets(caplog):
    with caplog.at_level(logging.INFO):
        dataset = datasets.load("omniglot", str(SHARED))
    assert [names(dataset, split) for split in dataset.splits] == [
        {"Balinese", "Greek", "Korean", "Latin"},
        {"Early_Aramaic"},
        {"Japanese_(katakana)", "Sanskrit", "Tagalog"},
    ]
    assert [len(dataset.class_names(split)) for split in dataset.splits] == [(136 - 22) * 4, 22, 106]
    assert all((pool.counts == 20).all() for pool in dataset.pools.values())
    assert "Early_Aramaic" in caplog.text
    with zipfile.ZipFile(SHARED / "images_background_small2.zip") as archive:
        member = "images_background_small2/Tagalog/character03/"
        files = sorted(name for name in archive.namelist() if name.startswith(member) and name.endswith(".png"))
        first = archive.read(files[0])
    assert Image.open(io.BytesIO(first)).size == (105, 105)
    pool = dataset.pools["test"]
    position = pool.class_names.index("Tagalog/character03")
    np.testing.assert_array_equal(pool.images[20 * position], decode_and_resize(first, (28, 28), 1))
    # Thin black strokes on white.
    assert 200 < pool.images.mean() < 250
