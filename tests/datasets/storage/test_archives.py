"""Archives from strangers: what is read of them, and what is refused."""

import io
import tarfile

import pytest

from cml_tf.datasets import DatasetError
from cml_tf.datasets.storage.archives import members
from tests.helpers.benchmark_files import tar_bytes, zip_bytes
from tests.helpers.drawn_images import write_tree

VISIBLE = {"top/b.txt": b"b" * 3000, "top/a/c.txt": b"c"}
FILES = {**VISIBLE, "top/.hidden": b"h", "__MACOSX/._b.txt": b"x"}
ARCHIVES = {
    "files.tar": tar_bytes(FILES, "w"),
    "files.tgz": tar_bytes(FILES),
    "files.tar.xz": tar_bytes(FILES, "w:xz"),
    "files.zip": zip_bytes(FILES),
}


def content(path, **options):
    return {member.place: member.read() for member in members(path, **options)}


def encrypted():
    raw = bytearray(zip_bytes({"a": b"x"}))
    raw[raw.index(b"PK\x03\x04") + 6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


def links():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"images/{kind!r}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_read_in_place_and_damage_is_noticed(tmp_path, name):
    path, whole = tmp_path / name, ARCHIVES[name]
    path.write_bytes(whole)
    assert content(path) == VISIBLE and list(tmp_path.iterdir()) == [path]
    assert len(list(members(path, largest=100))) == 2, "too large a file is refused when it is read"
    with pytest.raises(DatasetError, match="100 bytes.* 3000"):
        content(path, largest=100)
    for damaged in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=f"{name}.*(is damaged|must have)") as caught:
            content(path)
        assert "\n" not in str(caught.value)


def test_folders_and_tars_of_tars_are_read_and_links_and_devices_in_archives_passed_over(tmp_path):
    write_tree(tmp_path / "folder", {**VISIBLE, "top/.hidden": b"h"})
    assert content(tmp_path / "folder") == VISIBLE
    assert [member.place for member in members(tmp_path / "folder")] == sorted(VISIBLE, reverse=True)
    inner = {f"n{i}.tar": tar_bytes({f"n{i}_0.JPEG": bytes([i])}, "w") for i in range(3)}
    (tmp_path / "outer.tar").write_bytes(tar_bytes(inner, "w"))
    assert content(tmp_path / "outer.tar") == {f"n{i}.tar/n{i}_0.JPEG": bytes([i]) for i in range(3)}
    (tmp_path / "links.tar").write_bytes(links())
    assert content(tmp_path / "links.tar") == {}


OUT = ("../../etc/passwd", "/etc/passwd", "top/../../x", "..\\x")


@pytest.mark.parametrize(
    ("file", "archive", "message"),
    [
        *(("files.tar", tar_bytes({name: b"x"}, "w"), "outside the archive") for name in OUT),
        *(("files.zip", zip_bytes({name: b"x"}), "outside the archive") for name in OUT),
        ("files.zip", ARCHIVES["files.zip"].replace(b"b" * 3000, b"b" * 2999 + b"x"), "top/b.txt is damaged .*CRC"),
        ("files.zip", encrypted(), "is damaged .*encrypted"),
        ("absent.tar", None, "does not exist"),
    ],
)
def test_hostile_archives_are_refused(tmp_path, file, archive, message):
    if archive is not None:
        (tmp_path / file).write_bytes(archive)
    with pytest.raises(DatasetError, match=message):
        content(tmp_path / file)


def test_links_in_a_folder_are_followed_and_a_cycle_ends(tmp_path):
    write_tree(tmp_path, {"else/x.txt": b"x", "else/y.txt": b"y", "root/a/own.txt": b"own"})
    root = tmp_path / "root"
    links = {"b": tmp_path / "else", "c": "b", "a/link.txt": tmp_path / "else" / "x.txt", "a/nowhere.txt": "gone"}
    for name, target in {**links, "a/up": ".."}.items():
        (root / name).symlink_to(target)
    (tmp_path / "else" / "back").symlink_to(root)
    places = content(root)
    assert list(places) == ["a/link.txt", "a/own.txt", "b/x.txt", "b/y.txt", "c/x.txt", "c/y.txt"]
    assert places["a/link.txt"] == b"x"
    (root / "round").symlink_to("round")
    with pytest.raises(DatasetError, match="round cannot be read"):
        content(root)
