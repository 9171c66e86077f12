"""Omniglot is prepared only if it is all that was published."""

import hashlib
from pathlib import Path

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import instructions
from cml_tf.datasets.benchmarks.tfds_sets import PublishedFile, PublishedSet
from cml_tf.datasets.omniglot.dataset import CHARACTERS, DRAWINGS, FILES
from cml_tf.datasets.prepare import folder_of, prepared, source_of, summary
from tests.helpers.drawn_images import drawings, write_tree, write_zip
from tests.helpers.programs import run_programs

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "omniglot_small"
ALPHABETS = {"images_background": {"Greek": 2, "Korean": 1}, "images_evaluation": {"Sanskrit": 2}}
pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with miniatures of the two zip files, whose checksums and numbers are the expected ones."""
    pins = []
    for name, alphabets in ALPHABETS.items():
        path = tmp_path / f"{name}.zip"
        write_zip(path, drawings(alphabets, count=DRAWINGS))
        content = path.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        pins.append(PublishedFile(path.name, f"http://omniglot.test/{path.name}", len(content), checksum))
        monkeypatch.setitem(CHARACTERS, name, sum(alphabets.values()))
    monkeypatch.setattr(PublishedSet, "pinned", lambda self: pins)
    return tmp_path


def test_what_is_whole_is_prepared(published):
    pools = prepared("omniglot", str(published))
    assert {split: len(pool.class_names) for split, pool in pools.items()} == {"train": 8, "validation": 1, "test": 2}
    assert summary("omniglot", pools).title == "Omniglot, 28x28"
    assert Path(folder_of(pools)).is_dir() and "Science 2015" in source_of("omniglot")


def test_another_checksum_is_refused(published):
    path = published / "images_evaluation.zip"
    write_zip(path, drawings({"Sanskrit": 1, "Tagalog": 1}, count=DRAWINGS))
    with pytest.raises(DatasetError, match="evaluation.zip must have the published SHA-256 [0-9a-f]{64}, received"):
        prepared("omniglot", str(published))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("Greek/character02", "images_background must have 3 characters with 60 drawings, found 2 with 40; the files"),
        ("Korean/character01/00.png", "images_background must have 20 drawings of every character, found 19 of Kor"),
    ],
)
def test_incomplete_folders_are_refused_and_can_be_trained_on(published, place, message):
    for name, alphabets in ALPHABETS.items():
        files = {file: content for file, content in drawings(alphabets, DRAWINGS).items() if not file.startswith(place)}
        write_tree(published / name, files)
    with pytest.raises(DatasetError, match=message):
        prepared("omniglot", str(published))
    assert datasets.load("omniglot", str(published)).splits


def test_small_sets_have_twenty_drawings_and_ones_own_any_number(tmp_path):
    for number, name in enumerate(("Greek", "Sanskrit"), 1):
        write_tree(tmp_path / f"images_background_small{number}", drawings({name: 2, "Korean": 1}, 20))
    assert prepared("omniglot", str(tmp_path))
    next(tmp_path.rglob("*.png")).unlink()
    with pytest.raises(DatasetError, match="background_small. must have 20 drawings of every character, found 19"):
        prepared("omniglot", str(tmp_path))
    write_tree(tmp_path / "own", drawings(dict.fromkeys("ABC", 2), 3))
    assert prepared("omniglot", str(tmp_path / "own"))


def test_the_numbers_and_the_two_files_are_the_published_ones():
    assert CHARACTERS == {"images_background": 964, "images_evaluation": 659} and DRAWINGS == 20
    pytest.importorskip("tensorflow_datasets")
    text = instructions("omniglot")
    for name in ("images_background.zip", "images_evaluation.zip"):
        assert f"from https://github.com/brendenlake/omniglot/raw/master/python/{name}\n" in text
    assert "9,464,212 bytes, SHA-256 ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640" in text
    assert f"TensorFlow Datasets ({FILES.builder})" in text and "prepare omniglot --root=FOLDER" in text


def test_another_size_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="omniglot is always prepared at 28x28: leave out --image_size"):
        prepared("omniglot", str(tmp_path), (84, 84))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the small Omniglot sets are not beside the checkout")
def test_the_program_on_the_real_small_sets(tmp_path):
    roots = SHARED, tmp_path
    done, missing = run_programs([["cml_tf.datasets.prepare", "omniglot", f"--root={root}"] for root in roots])
    assert (done.code, done.messages) == (0, []) and "Omniglot, 28x28" in done.out and " 9120 " in done.out
    assert missing.code == 2 and "images_evaluation.zip (6,462,886 bytes" in missing.out
