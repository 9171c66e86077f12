import io
import logging
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.image_files import decode_and_resize
from tests.helpers.benchmark_files import zip_bytes
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair", [("images_background", "images_evaluation"), ("images_background_small1", "images_background_small2")]
)
def test_zip_files_with_hidden_and_foreign_files_in_them_and_folders(tmp_path, pair):
    for name in ("packed", "unpacked"):
        (tmp_path / name).mkdir()
    write_pair(tmp_path / "packed", pair)
    with zipfile.ZipFile(tmp_path / "packed" / f"{pair[1]}.zip", "a") as archive:
        for name in ("__MACOSX/x/Greek/character01/._01.png", "x/Greek/character01/.hidden.png", "x/README.txt"):
            archive.writestr(name, b"")
    dataset = datasets.load("omniglot", str(tmp_path / "packed"))
    assert_is_the_miniature(dataset)
    # Pixels are those of the one preprocessing function.
    pool = dataset.pools["test"]
    position = pool.class_names.index("Tagalog/character02")
    contents = drawings(EVALUATION)["Tagalog/character02/01.png"]
    np.testing.assert_array_equal(pool.images[2 * position + 1], decode_and_resize(contents, (28, 28), 1))
    write_pair(tmp_path / "unpacked", pair, write=write_tree, suffix="")
    assert fingerprints(tmp_path / "unpacked") == fingerprints(tmp_path / "packed")


def test_folder_of_alphabets_holds_out_the_last_ones(tmp_path):
    write_tree(tmp_path, drawings({letter: 2 for letter in "ABCDEFGHIJK"}))
    dataset = datasets.load("omniglot", str(tmp_path))
    assert [names(dataset, split) for split in dataset.splits] == [set("ABCDEFGH"), {"I"}, set("JK")]


def test_training_classes_are_turned_others_are_not_and_changed_files_are_read_again(tmp_path, no_decoding):
    write_pair(tmp_path)
    dataset = datasets.load("omniglot", str(tmp_path))
    pool = dataset.pools["train"]
    images = {name: pool.images[2 * number : 2 * number + 2] for number, name in enumerate(pool.class_names)}
    for turns in range(4):
        upright, turned = images["Korean/character01/rot000"], images[f"Korean/character01/rot{90 * turns:03d}"]
        np.testing.assert_array_equal(np.rot90(upright, turns, (1, 2)), turned)
    assert not any("rot" in name for split in ("validation", "test") for name in dataset.class_names(split))
    with no_decoding("omniglot.dataset"):
        assert fingerprints(tmp_path) == [pool.fingerprint for pool in dataset.pools.values()]
        write_zip(tmp_path / "images_evaluation.zip", drawings({**EVALUATION, "Tifinagh": 2}))
        with pytest.raises(pytest.fail.Exception, match="decoded again"):
            datasets.load("omniglot", str(tmp_path))
    assert "Tifinagh" in names(datasets.load("omniglot", str(tmp_path)), "test")


def test_without_root_tensorflow_datasets_gives_the_drawings(empty_cache, monkeypatch):
    tfds, alphabets = pytest.importorskip("tensorflow_datasets"), sorted({*BACKGROUND, *EVALUATION})

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
    for builder in (lambda name: {"omniglot": prepared}[name], lambda name: pytest.fail("the cache was not used")):
        monkeypatch.setattr(tfds, "builder", builder)
        assert_is_the_miniature(datasets.load("omniglot"))


@pytest.mark.slow
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
    # Thin black strokes on white.
    assert 200 < dataset.pools["test"].images.mean() < 250


def edited(change, root):
    """The miniature with a second file whose bytes were changed."""
    write_pair(root)
    path = root / "images_evaluation.zip"
    path.write_bytes(change(path.read_bytes()))


def damaged_member(content):
    start = content.index(b"IDAT")
    return content[: start + 8] + b"\0\0\0\0" + content[start + 12 :]


def damaged_directory(content):
    """The first entry of the central directory points beyond the end of the file."""
    place = content.index(b"PK\x01\x02") + 42
    return content[:place] + struct.pack("<I", 1 << 30) + content[place + 4 :]


def added(name, size=0):
    def change(content):
        buffer = io.BytesIO(content)
        with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, bytes(size))
        return buffer.getvalue()

    return change


def replaced(files):
    return lambda content: zip_bytes({f"images_evaluation/{name}": file for name, file in files.items()})


BAD_FILES = {
    "is not a readable zip file": lambda content: b"hello",
    "is damaged": damaged_member,
    "download it again": damaged_directory,
    "character02/01.png cannot be read": replaced({**drawings(EVALUATION), "Tagalog/character02/01.png": b"x"}),
    "test alphabets": replaced(drawings({"Greek": 3})),
    "found '../../Greek/escaped.png'": added("../../Greek/escaped.png"),
    "found 'images_evaluation/flat.png'": added("images_evaluation/flat.png"),
    "1048576 .*bomb.png' claims 1048577": added("images_evaluation/Greek/character01/bomb.png", 2**20 + 1),
}
PICTURE = drawings({"Greek": 1})["Greek/character01/00.png"]
BAD_FOLDERS = {
    "found no such file": {},
    "enough alphabets": drawings({"Greek": 3, "Latin": 3}),
    "found Greek/loose.png": {**drawings({"Greek": 3}), "Greek/loose.png": PICTURE},
    "found Greek/character01/1.jpg": {**drawings({"Greek": 3}), "Greek/character01/1.jpg": PICTURE},
    "images_background but not images_evaluation": {"images_background/Greek/character01/1.png": PICTURE},
    "gone.png is a link to a missing file": {**drawings({"Greek": 3}), "Greek/character01/gone.png": None},
}


@pytest.mark.parametrize("message", {**BAD_FILES, **BAD_FOLDERS})
def test_bad_files_are_named(tmp_path, empty_cache, message):
    if message in BAD_FILES:
        edited(BAD_FILES[message], tmp_path)
    for name, content in BAD_FOLDERS.get(message, {}).items():
        if content is None:
            (tmp_path / name).symlink_to("nowhere.png")
        else:
            write_tree(tmp_path, {name: content})
    with pytest.raises(DatasetError, match=message) as caught:
        datasets.load("omniglot", str(tmp_path))
    assert "\n" not in str(caught.value)
