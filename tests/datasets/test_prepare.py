"""Preparing a benchmark, and the program that does it."""

from functools import partial

import pytest
from rich.console import Console

from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive, instructions, source_key, stored_images
from cml_tf.datasets.prepare import folder_of, prepared, summary
from tests.helpers.programs import run_programs

PROGRAM = "cml_tf.datasets.prepare"


def shown(name: str, pools) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(summary(name, pools))
    return capture.get()


def test_what_there_is_in_words(miniature):
    pools = prepared("aircraft", str(miniature("aircraft")))
    out = shown("aircraft", pools)
    for split, classes in (("train", 70), ("validation", 15), ("test", 15)):
        row = next(line for line in out.splitlines() if split in line)
        assert f" {classes} " in row and f" {3 * classes} " in row
    assert "FGVC-Aircraft, 84x84" in out and "/aircraft-" in folder_of(pools)
    assert shown("aircraft", prepared("aircraft")) == out, "the second call needs no files"


def damage(pools) -> None:
    path = pools["test"].images.filename
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_damaged_arrays_are_found(miniature):
    pools = prepared("gtsrb", str(miniature("gtsrb")))
    damage(pools)
    with pytest.raises(DatasetError, match=f"damaged: delete {folder_of(pools)} and run this command again"):
        prepared("gtsrb")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_instructions_name_every_file_and_where_it_is(name):
    text = instructions(name)
    source = BENCHMARKS[name].source
    files = {source.name: source.url} if isinstance(source, Archive) else dict(source.files)
    assert files and all(file in text and url in text for file, url in files.items())
    assert f"python -m cml_tf.datasets.prepare {name} --root=FOLDER" in text
    if isinstance(source, Archive):
        assert source.checksum[1] in text and "by hand" in text
    else:
        assert source.note in text
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
    for finished, message in (
        (missing, "mini_imagenet needs mini-imagenet.tar.gz"),
        (nowhere, "the root of cub must be a folder, received /nowhere"),
        (small, "is not prepared at 16x16"),
    ):
        assert finished.code == 2 and len(finished.messages) == 1
        assert finished.messages[0].startswith("error: ") and message in finished.messages[0]
        assert "by hand:" in finished.out and "--root=FOLDER" in finished.out
