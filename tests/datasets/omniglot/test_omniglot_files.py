from __future__ import annotations

import struct
import zipfile

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from tests.helpers.drawn_images import drawings, write_tree, write_zip
from tests.helpers.small_omniglot import EVALUATION, write_pair


def missing_partner(root):
    write_pair(root)
    (root / "images_evaluation.zip").unlink()


def not_a_zip(root):
    write_pair(root)
    (root / "images_evaluation.zip").write_bytes(b"hello")


def damaged_member(root):
    write_pair(root)
    path = root / "images_evaluation.zip"
    contents = path.read_bytes()
    start = contents.index(b"IDAT")
    path.write_bytes(contents[: start + 8] + b"\0\0\0\0" + contents[start + 12 :])


def not_an_image(root):
    write_pair(root)
    write_zip(root / "images_evaluation.zip", {**drawings(EVALUATION), "Tagalog/character02/01.png": b"no image"})


def climbing_member(root):
    write_pair(root)
    with zipfile.ZipFile(root / "images_evaluation.zip", "a") as archive:
        archive.writestr("../../Greek/escaped.png", b"")


def misplaced_member(root):
    write_pair(root)
    with zipfile.ZipFile(root / "images_evaluation.zip", "a") as archive:
        archive.writestr("images_evaluation/flat.png", b"")


def huge_member(root):
    write_pair(root)
    with zipfile.ZipFile(root / "images_evaluation.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images_evaluation/Greek/character01/bomb.png", bytes((1 << 20) + 1))


def empty_root(root):
    pass


def one_alphabet(root):
    write_tree(root, drawings({"Greek": 3}))


def two_alphabets(root):
    write_tree(root, drawings({"Greek": 3, "Latin": 3}))


def nothing_new_to_test(root):
    write_pair(root)
    write_zip(root / "images_evaluation.zip", drawings({"Greek": 3}))


def misplaced(name):
    def arrange(root):
        write_tree(root, drawings({"Greek": 3}))
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(next(root.rglob("*.png")).read_bytes())

    return arrange


def dangling_link(root):
    write_tree(root, drawings({"Greek": 3}))
    (root / "Greek" / "character01" / "gone.png").symlink_to(root / "nowhere.png")


def damaged_directory(root):
    write_pair(root)
    path = root / "images_evaluation.zip"
    contents = bytearray(path.read_bytes())
    # The first entry of the central directory now points beyond the end of the file.
    struct.pack_into("<I", contents, contents.index(b"PK\x01\x02") + 42, 1 << 30)
    path.write_bytes(bytes(contents))


def damaged_stream(root):
    write_pair(root)
    path = root / "images_evaluation.zip"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images_evaluation/Greek/character01/99.png", bytes(1000))
        name = archive.infolist()[-1].filename
    contents = bytearray(path.read_bytes())
    # What follows the local header of 30 bytes and the name begins with a block of a type that there is not.
    start = contents.index(name.encode()) + len(name)
    contents[start] = 0xFF
    path.write_bytes(bytes(contents))


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (damaged_stream, "is damaged .*invalid block type.*download it again"),
        (missing_partner, "holds images_background.zip but not images_evaluation"),
        (not_a_zip, "is not a readable zip file"),
        (damaged_member, "is damaged .*download it again"),
        (damaged_directory, "download it again"),
        (not_an_image, "images_evaluation.zip: .*Tagalog/character02/01.png cannot be read as a PNG"),
        (climbing_member, "found '../../Greek/escaped.png'"),
        (misplaced_member, "found 'images_evaluation/flat.png'"),
        (huge_member, "at most 1048576 bytes, .*bomb.png' claims 1048577"),
        (empty_root, "must hold alphabet/character/drawing.png, found no such file"),
        (one_alphabet, "must hold enough alphabets"),
        (two_alphabets, "must hold enough alphabets"),
        (misplaced("Greek/loose.png"), "and no other pictures, found Greek/loose.png; move it away"),
        (misplaced("Greek/character01/more/1.png"), "found Greek/character01/more/1.png"),
        (misplaced("Greek/character01/1.jpg"), "found Greek/character01/1.jpg"),
        (dangling_link, "gone.png is a link to what is not there"),
        (nothing_new_to_test, "must hold test alphabets"),
    ],
)
def test_bad_files_are_named(tmp_path, empty_cache, arrange, message):
    arrange(tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        datasets.load("omniglot", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_root_that_is_no_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="must be a folder"):
        datasets.load("omniglot", str(tmp_path / "nowhere"))
