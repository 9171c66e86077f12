"""Archives of images: names that lead elsewhere, sizes that lie, members that are no files."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cml_tf.datasets.omniglot.files import open_drawings
from cml_tf.datasets.storage.archives import members
from tests.datasets.hostile.case import Case
from tests.helpers.benchmark_files import tar_bytes, zip_bytes

_PLAIN = {"top/a.txt": b"a" * 2000, "top/b.txt": b"b"}
_OUT = ("../x", "/etc/passwd", "top/../../x", "..\\x", "C:\\x", "top/..")


def _archive(name: str, content: bytes | Callable[[], bytes], expected: Any, largest: int = 1 << 20) -> Case:
    def run(folder: Path) -> dict[str, bytes]:
        path = folder / name
        path.write_bytes(content() if callable(content) else content)
        found = {member.place: member.read() for member in members(path, largest)}
        assert list(folder.iterdir()) == [path], "nothing is unpacked"
        return found

    return Case(run, expected)


def _with(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("top/special.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


def _claiming(size: int, name: str = "top/a.txt", content: bytes = b"a" * 2000) -> bytes:
    """A zip file whose directory gives another size."""
    raw = bytearray(zip_bytes({name: content}))
    directory = raw.index(b"PK\x01\x02")
    raw[directory + 24 : directory + 28] = struct.pack("<I", size)
    return bytes(raw)


def _changed(place: int, value: bytes) -> bytes:
    raw = bytearray(zip_bytes(_PLAIN))
    for mark, offset in ((b"PK\x03\x04", place), (b"PK\x01\x02", place + 2)):
        raw[raw.index(mark) + offset : raw.index(mark) + offset + len(value)] = value
    return bytes(raw)


def _deflated(size: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("top/a.txt", "w") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def _named(name: bytes, flags: bytes = b"\0\0") -> bytes:
    """A zip file that holds a drawing, and behind it a member of any name, with flags."""
    raw = zip_bytes({"top/A/b/1.png": b"x", "Q" * len(name): b"x"})
    place = raw.rindex(b"PK\x01\x02")
    return (raw[: place + 8] + flags + raw[place + 10 :]).replace(b"Q" * len(name), name)


def _drawings(files: dict[str, bytes] | bytes, expected: Any) -> Case:
    def run(folder: Path) -> Any:
        (folder / "images.zip").write_bytes(files if isinstance(files, bytes) else zip_bytes(files))
        return open_drawings(folder / "images.zip")

    return Case(run, expected)


def _many_large(folder: Path) -> Any:
    names = {f"top/A/b/{number}.png": b"x" for number in range(1100)}
    raw = bytearray(zip_bytes(names))
    place = raw.find(b"PK\x01\x02")
    while place >= 0:
        raw[place + 24 : place + 28] = struct.pack("<I", 1 << 20)
        place = raw.find(b"PK\x01\x02", place + 1)
    (folder / "images.zip").write_bytes(bytes(raw))
    return open_drawings(folder / "images.zip")


_ZIP, _TAR, _TGZ = zip_bytes(_PLAIN), tar_bytes(_PLAIN, "w"), tar_bytes(_PLAIN)
BOMBS = {
    "zip: 256 MB of zeros": _archive("a.zip", lambda: _deflated(1 << 28), "must have at most"),
    "zip: says less than it holds": _archive("a.zip", _claiming(10), "is damaged"),
    "zip: says more than it holds": _archive("a.zip", _claiming(3000), "must have 3000 bytes"),
    "zip: says four gigabytes": _archive("a.zip", _claiming(2**32 - 2), "must have at most"),
    "drawings of a gigabyte together": Case(_many_large, "bytes together, but claims"),
}
CASES = {
    **{f"tar: {name}": _archive("a.tar", tar_bytes({name: b"x"}, "w"), "outside the archive") for name in _OUT},
    **{f"zip: {name}": _archive("a.zip", zip_bytes({name: b"x"}), "outside the archive") for name in _OUT},
    **{
        f"tar: {name}": _archive("a.tar", _with(kind), lambda found: found == {})
        for name, kind in {
            "a link": tarfile.SYMTYPE,
            "a hard link": tarfile.LNKTYPE,
            "a device": tarfile.CHRTYPE,
            "a disk": tarfile.BLKTYPE,
            "a pipe": tarfile.FIFOTYPE,
            "a folder": tarfile.DIRTYPE,
        }.items()
    },
    **{
        f"{name}: {what}": _archive(name, content, "is damaged|must have")
        for name, whole in (("a.zip", _ZIP), ("a.tar", _TAR), ("a.tgz", _TGZ), ("a.tar.xz", tar_bytes(_PLAIN, "w:xz")))
        for what, content in {
            "empty": b"",
            "text": b"not an archive",
            "half": whole[: min(len(whole) // 2, 800)],
            "zeros in it": whole[: len(whole) // 3] + bytes(200) + whole[len(whole) // 3 + 200 :],
        }.items()
        if (name, what) not in {("a.tar", "zeros in it"), ("a.zip", "zeros in it")}
    },
    **BOMBS,
    "zip: a wrong checksum": _archive("a.zip", _ZIP.replace(b"a" * 2000, b"a" * 1999 + b"x"), "is damaged .*CRC"),
    "zip: encrypted": _archive("a.zip", _changed(6, b"\x01\0"), "is damaged .*encrypted"),
    "zip: packed in an unknown way": _archive("a.zip", _changed(8, b"\x63\0"), "is damaged"),
    "zip: without its directory": _archive("a.zip", _ZIP[: _ZIP.index(b"PK\x01\x02")], "is damaged"),
    "zip: called tar": _archive("a.tar", _ZIP, "is damaged"),
    "tar: called zip": _archive("a.zip", _TAR, "is damaged"),
    "tar: a large member": _archive("a.tar", tar_bytes({"a": bytes(2 << 20)}, "w"), "must have at most"),
    "tar: a wrong checksum of its header": _archive("a.tar", _TAR[:148] + b"9" + _TAR[149:], "is damaged"),
    "tar: hidden files": _archive("a.tar", tar_bytes({".a": b"", "__MACOSX/b": b""}, "w"), lambda found: found == {}),
    "tar: in a tar in a tar": _archive(
        "a.tar",
        tar_bytes({"b.tar": tar_bytes({"c.tar": tar_bytes(_PLAIN, "w")}, "w")}, "w"),
        lambda found: list(found) == ["b.tar/c.tar"],
    ),
    "zip: a name that is not UTF-8": _archive(
        "a.zip", zip_bytes({"caf?.txt": b"x"}).replace(b"caf?", b"caf\xe9"), lambda found: len(found) == 1
    ),
    "zip: no name": _archive("a.zip", _named(b"\0"), lambda found: list(found) == ["top/A/b/1.png"]),
    "zip: a name that says it is UTF-8": _archive("a.zip", _named(b"\xff", b"\0\x08"), "is damaged .*Unicode"),
    "drawings: a dot": _drawings(_named(b"."), lambda found: len(found.drawings) == 1),
    "drawings: no name": _drawings(_named(b"\0"), lambda found: len(found.drawings) == 1),
    "drawings: a name that says it is UTF-8": _drawings(_named(b"\xff", b"\0\x08"), "no readable zip|not a readable"),
    "drawings: out of the archive": _drawings({"../a/b/1.png": b""}, "found '../a/b/1.png'"),
    "drawings: absolute": _drawings({"/a/b/1.png": b""}, "found '/a/b/1.png'"),
    "drawings: none": _drawings({"a/b/c/1.txt": b""}, "found no such file"),
}
