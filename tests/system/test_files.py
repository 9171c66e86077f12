"""Files are whole or absent: an interrupted writer leaves the old file and nothing else."""

import json
import stat

import pytest

from cml_tf.system.files import atomic_file, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_a_new_file_and_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    with atomic_file(path) as file:
        file.write(b"content")
        assert not path.exists(), "the file appeared before it was whole"
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["file.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [{}, {"file.bin": b"old"}])
def test_a_failing_block_leaves_what_was_there_before(tmp_path, error, before):
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error), atomic_file(tmp_path / "file.bin") as file:
        file.write(b"new, but cut sho")
        raise error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_replaces_a_file_whole(tmp_path):
    for text in ("a long first version", "short, ä"):
        write_text(tmp_path / "file.txt", text)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file.txt": "short, ä".encode()}


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"b": [1, 2.5], "a": None})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": None, "b": [1, 2.5]}
    assert names(tmp_path) == ["file.json"]
