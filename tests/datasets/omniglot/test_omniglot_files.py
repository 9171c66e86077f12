import struct
import zipfile

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from tests.helpers.drawn_images import drawings, write_tree, write_zip
from tests.helpers.small_omniglot import EVALUATION, write_pair


def zips(root):
    """The miniature; its second file."""
    write_pair(root)
    return root / "images_evaluation.zip"


def missing_partner(root):
    zips(root).unlink()


def not_a_zip(root):
    zips(root).write_bytes(b"hello")


def damaged_member(root):
    path = zips(root)
    contents = path.read_bytes()
    start = contents.index(b"IDAT")
    path.write_bytes(contents[: start + 8] + b"\0\0\0\0" + contents[start + 12 :])


def damaged_directory(root):
    path = zips(root)
    contents = bytearray(path.read_bytes())
    # The first entry of the central directory now points beyond the end of the file.
    struct.pack_into("<I", contents, contents.index(b"PK\x01\x02") + 42, 1 << 30)
    path.write_bytes(bytes(contents))


def damaged_stream(root):
    name = "images_evaluation/Greek/character01/99.png"
    added(name, bytes(1000))(root)
    path = root / "images_evaluation.zip"
    contents = bytearray(path.read_bytes())
    # What follows the local header and the name begins with a block of a type that there is not.
    contents[contents.index(name.encode()) + len(name)] = 0xFF
    path.write_bytes(bytes(contents))


def added(name, content=b""):
    def arrange(root):
        with zipfile.ZipFile(zips(root), "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)

    return arrange


def replaced(files):
    return lambda root: write_zip(zips(root), files)


def folders(alphabets, **files):
    return lambda root: write_tree(root, {**drawings(dict.fromkeys(alphabets, 3)), **files})


def dangling_link(root):
    folders(["Greek"])(root)
    (root / "Greek" / "character01" / "gone.png").symlink_to(root / "nowhere.png")


PICTURE = drawings({"Greek": 1})["Greek/character01/00.png"]


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (missing_partner, "holds images_background.zip but not images_evaluation"),
        (not_a_zip, "is not a readable zip file"),
        (damaged_stream, "is damaged .*invalid block type.*download it again"),
        (damaged_member, "is damaged .*download it again"),
        (damaged_directory, "download it again"),
        (
            replaced({**drawings(EVALUATION), "Tagalog/character02/01.png": b"x"}),
            "character02/01.png cannot be read as",
        ),
        (replaced(drawings({"Greek": 3})), "must contain test alphabets"),
        (added("../../Greek/escaped.png"), "found '../../Greek/escaped.png'"),
        (added("images_evaluation/flat.png"), "found 'images_evaluation/flat.png'"),
        (
            added("images_evaluation/Greek/character01/bomb.png", bytes(2**20 + 1)),
            "most 1048576 .*bomb.png' claims 1048577",
        ),
        (lambda root: None, "must contain alphabet/character/drawing.png, found no such file"),
        (folders(["Greek"]), "must contain enough alphabets"),
        (folders(["Greek", "Latin"]), "must contain enough alphabets"),
        (folders(["Greek"], **{"Greek/loose.png": PICTURE}), "and no other pictures, found Greek/loose.png; move it"),
        (folders(["Greek"], **{"Greek/character01/more/1.png": PICTURE}), "found Greek/character01/more/1.png"),
        (folders(["Greek"], **{"Greek/character01/1.jpg": PICTURE}), "found Greek/character01/1.jpg"),
        (dangling_link, "gone.png is a link to a missing file"),
    ],
)
def test_bad_files_are_named(tmp_path, empty_cache, arrange, message):
    arrange(tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        datasets.load("omniglot", str(tmp_path))
    assert "\n" not in str(caught.value)
