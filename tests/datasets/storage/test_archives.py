"""Archives from strangers: what is read of them, and what is refused."""

import io
import tarfile

import pytest

from cml_tf.datasets import DatasetError
from cml_tf.datasets.storage.archives import digests, members
from tests.helpers.benchmark_files import tar_bytes, zip_bytes
from tests.helpers.drawn_images import write_tree

VISIBLE = {"top/b.txt": b"b" * 3000, "top/a/c.txt": b"c"}
HIDDEN = {"top/.hidden": b"h", "__MACOSX/._b.txt": b"x"}
FILES = {**VISIBLE, **HIDDEN}
ARCHIVES = {
    "files.tar": tar_bytes(FILES, "w"),
    "files.tgz": tar_bytes(FILES),
    "files.tar.bz2": tar_bytes(FILES, "w:bz2"),
    "files.tar.xz": tar_bytes(FILES, "w:xz"),
    "files.zip": zip_bytes(FILES),
}


def content(path, **options):
    return {member.place: member.read() for member in members(path, **options)}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_read_in_place_and_damage_is_noticed(tmp_path, name):
    path, whole = tmp_path / name, ARCHIVES[name]
    path.write_bytes(whole)
    assert content(path) == VISIBLE
    assert list(tmp_path.iterdir()) == [path]
    assert len(list(members(path, largest=100))) == 2, "too large a file is refused when it is read"
    with pytest.raises(DatasetError, match="must have at most 100 bytes, but claims 3000"):
        content(path, largest=100)
    for damaged in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match="is damaged|must have") as caught:
            content(path)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_is_read_by_name(tmp_path):
    with pytest.raises(DatasetError, match="does not exist: check the root"):
        content(tmp_path / "nowhere.tar")
    write_tree(tmp_path, {**VISIBLE, "top/.hidden": b"h"})
    assert content(tmp_path) == VISIBLE
    assert [member.place for member in members(tmp_path)] == sorted(VISIBLE, reverse=True)


def test_a_tar_of_tars(tmp_path):
    inner = {f"n{i}.tar": tar_bytes({f"n{i}_0.JPEG": bytes([i])}, "w") for i in range(3)}
    (tmp_path / "outer.tar").write_bytes(tar_bytes(inner, "w"))
    assert content(tmp_path / "outer.tar") == {f"n{i}.tar/n{i}_0.JPEG": bytes([i]) for i in range(3)}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "top/../../x", "..\\x"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_are_refused(tmp_path, kind, name):
    path = tmp_path / f"files.{kind}"
    path.write_bytes(tar_bytes({name: b"x"}, "w") if kind == "tar" else zip_bytes({name: b"x"}))
    with pytest.raises(DatasetError, match="a path outside the archive"):
        content(path)


def test_links_and_devices_are_passed_over(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"images/{kind!r}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    (tmp_path / "links.tar").write_bytes(buffer.getvalue())
    assert content(tmp_path / "links.tar") == {}


def test_members_of_a_zip_file_with_another_content_or_encrypted_are_refused(tmp_path):
    path = tmp_path / "files.zip"
    path.write_bytes(ARCHIVES["files.zip"].replace(b"b" * 3000, b"b" * 2999 + b"x"))
    with pytest.raises(DatasetError, match="top/b.txt is damaged .*CRC"):
        content(path)
    raw = bytearray(zip_bytes({"a": b"x"}))
    raw[raw.index(b"PK\x03\x04") + 6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DatasetError, match="is damaged .*encrypted"):
        content(path)


def test_digests_are_those_of_the_tools(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert digests(tmp_path / "file") == {
        "md5": "900150983cd24fb0d6963f7d28e17f72",
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
