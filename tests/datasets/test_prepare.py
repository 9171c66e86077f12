"""Preparing a benchmark or Omniglot, only if it is all that was published, and the program that does it."""

import hashlib
from functools import partial
from pathlib import Path

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive, instructions, source_key, stored_images
from cml_tf.datasets.benchmarks.tfds_sets import PublishedFile, PublishedSet
from cml_tf.datasets.omniglot.dataset import CHARACTERS, DRAWINGS, FILES
from cml_tf.datasets.prepare import folder_of, prepared, source_of, summary
from tests.helpers.drawn_images import drawings, write_tree, write_zip
from tests.helpers.programs import run_programs

PROGRAM = "cml_tf.datasets.prepare"
ALPHABETS = {"images_background": {"Greek": 2, "Korean": 1}, "images_evaluation": {"Sanskrit": 2}}
pytestmark = pytest.mark.usefixtures("empty_cache")


def test_what_there_is_in_words_and_damaged_arrays_are_found(miniature):
    pools = prepared("aircraft", str(miniature("aircraft")))
    table = summary("aircraft", pools)
    cells = [list(table.columns[i].cells) for i in range(3)]
    assert cells == [["train", "validation", "test"], ["70", "15", "15"], ["210", "45", "45"]]
    assert table.title == "FGVC-Aircraft, 84x84" and "/aircraft-" in folder_of(pools)
    assert folder_of(prepared("aircraft")) == folder_of(pools), "the second call needs no files"
    path = pools["test"].images.filename
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DatasetError, match=f"delete {folder_of(pools)}"):
        prepared("aircraft")


@pytest.mark.parametrize("name", [*BENCHMARKS, "omniglot"])
def test_the_instructions_name_every_file_and_where_it_is(name):
    text, source = instructions(name), FILES if name == "omniglot" else BENCHMARKS[name].source
    files = {source.name: source.url} if isinstance(source, Archive) else dict(source.files)
    assert files and all(file in text and url in text for file, url in files.items())
    assert f"python -m {PROGRAM} {name} --root=FOLDER" in text
    if isinstance(source, Archive):
        assert source.checksum[1] in text and "by hand" in text
        assert (f":\n  python -m {PROGRAM} {name}\n" in text) == source.direct
    else:
        assert source.note in text and source.builder in text
        for file in source.pinned():
            assert f"{file.name} ({file.size:,} bytes, SHA-256 {file.sha256})" in text
            assert file.size > 100 and len(file.sha256) == 64


@pytest.mark.slow
def test_the_program(miniature):
    """Its mistakes that need no files are in tests/programs/test_programs.py."""
    # Prepared images, few of them, that a program of its own process takes for the published ones.
    published = BENCHMARKS["gtsrb"].source
    path = miniature("gtsrb") / published.name
    signs = stored_images("gtsrb", source_key(published)).build(partial(published.pictures, path))
    # None of these would be downloaded.
    calls = [["gtsrb"], ["mini_imagenet"], ["cub", "--root=/nowhere"], ["tiered_imagenet", "--image_size=16"]]
    there, missing, nowhere, small = run_programs([[PROGRAM, *arguments] for arguments in calls])
    assert (there.code, there.messages) == (0, [])
    assert "GTSRB (traffic signs), 32x32" in there.out and " 43 " in there.out and " 129 " in there.out
    assert "classes: Triantafillou" in there.out and there.out.endswith(f"arrays: {folder_of(signs)}\n")
    for finished, message in ((missing, "mini-imagenet.tar.gz"), (nowhere, "received /nowhere"), (small, "16x16")):
        assert finished.code == 2 and len(finished.messages) == 1
        assert finished.messages[0].startswith("error: ") and message in finished.messages[0]
        assert "by hand" in finished.out and "--root=FOLDER" in finished.out


@pytest.fixture
def omniglot(tmp_path, monkeypatch):
    """A folder with miniatures of the two zip files, whose checksums and numbers are the expected ones."""
    pins = []
    for name, alphabets in ALPHABETS.items():
        path = tmp_path / f"{name}.zip"
        write_zip(path, drawings(alphabets, count=DRAWINGS))
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        pins.append(PublishedFile(path.name, f"http://omniglot.test/{path.name}", path.stat().st_size, checksum))
        monkeypatch.setitem(CHARACTERS, name, sum(alphabets.values()))
    monkeypatch.setattr(PublishedSet, "pinned", lambda self: pins)
    return tmp_path


def test_whole_omniglot_is_prepared_and_another_checksum_or_size_refused(omniglot):
    pools = prepared("omniglot", str(omniglot))
    assert {split: len(pool.class_names) for split, pool in pools.items()} == {"train": 8, "validation": 1, "test": 2}
    assert summary("omniglot", pools).title == "Omniglot, 28x28"
    assert Path(folder_of(pools)).is_dir() and "Science 2015" in source_of("omniglot")
    write_zip(omniglot / "images_evaluation.zip", drawings({"Sanskrit": 1, "Tagalog": 1}, count=DRAWINGS))
    with pytest.raises(DatasetError, match="evaluation.zip .*SHA-256 [0-9a-f]{64}, received"):
        prepared("omniglot", str(omniglot))
    with pytest.raises(DatasetError, match="always prepared at 28x28"):
        prepared("omniglot", str(omniglot), (84, 84))


INCOMPLETE = {
    "Greek/character02": "60 drawings, found 2 with 40",
    "Korean/character01/00.png": "20 .*found 19 of Korean",
}


@pytest.mark.parametrize(("left_out", "message"), INCOMPLETE.items())
def test_incomplete_folders_are_refused_and_can_be_trained_on(omniglot, left_out, message):
    for name, alphabets in ALPHABETS.items():
        files = drawings(alphabets, DRAWINGS)
        write_tree(omniglot / name, {file: files[file] for file in files if not file.startswith(left_out)})
    with pytest.raises(DatasetError, match=message):
        prepared("omniglot", str(omniglot))
    assert datasets.load("omniglot", str(omniglot)).splits


def test_small_sets_have_twenty_drawings_and_ones_own_any_number(tmp_path):
    for number, name in enumerate(("Greek", "Sanskrit"), 1):
        write_tree(tmp_path / f"images_background_small{number}", drawings({name: 1, "Korean": 1}, 20))
    assert prepared("omniglot", str(tmp_path))
    next(tmp_path.rglob("*.png")).unlink()
    with pytest.raises(DatasetError, match="background_small. .*20 drawings .*found 19"):
        prepared("omniglot", str(tmp_path))
    write_tree(tmp_path / "own", drawings(dict.fromkeys("ABC", 2), 3))
    assert prepared("omniglot", str(tmp_path / "own"))


def test_the_numbers_and_files_of_omniglot_are_the_published_ones():
    assert CHARACTERS == {"images_background": 964, "images_evaluation": 659} and DRAWINGS == 20
    text = instructions("omniglot")
    assert "from https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip\n" in text
    assert "9,464,212 bytes, SHA-256 ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640" in text
