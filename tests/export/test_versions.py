"""Version directories appear whole or not at all."""

from __future__ import annotations

import os
import re

import pytest

from export.errors import ExportError
from export.versions import existing_versions, new_version, why_no_version


def _publish(model_dir, version=None, content="x"):
    with new_version(model_dir, version) as draft:
        (draft.path / "file").write_text(content)
    return draft.published


def test_versions_count_up_from_the_newest(tmp_path):
    model = tmp_path / "models" / "glyphs"
    assert _publish(model) == model / "1"
    assert _publish(model, 7) == model / "7"
    assert _publish(model) == model / "8"
    assert _publish(model, 3) == model / "3"
    assert sorted(existing_versions(model)) == [1, 3, 7, 8]


def test_names_are_read_as_the_server_reads_them(tmp_path):
    for name in ("0007", "8.tmp", "abc", "v9", "-5", "tmp-12", "٣"):
        (tmp_path / name).mkdir()
    assert existing_versions(tmp_path) == {7: tmp_path / "0007"}
    assert _publish(tmp_path) == tmp_path / "8"
    with pytest.raises(ExportError, match="version 7 exists"):
        _publish(tmp_path, 7)


def test_a_place_without_a_version_is_described(tmp_path):
    for name in ("named/v1", "named/latest", "model/3", "export"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("model/3/saved_model.pb", "export/saved_model.pb", "file"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    for name, expected in {
        "nothing": "there is no such directory",
        "file": "it is a file",
        "empty": "it is empty",
        "named": "it holds latest, v1",
        "model/3": f"it is a version itself.* Name {tmp_path}/model[.]$",
        "export": f"it is a version itself.* Move its content to {tmp_path}/export/1[.]$",
    }.items():
        told = why_no_version(tmp_path / name)
        assert re.search(expected, told) and "A version is a directory named by a number" in told, told


def test_numbers_that_no_server_reads_are_no_versions(tmp_path):
    (tmp_path / str(2**63)).mkdir()
    (tmp_path / ("9" * 200)).mkdir()
    assert existing_versions(tmp_path) == {}


def test_until_the_end_nothing_stands_under_a_number(tmp_path):
    with new_version(tmp_path) as draft:
        (draft.path / "file").write_text("x")
        assert existing_versions(tmp_path) == {}
        assert draft.path.parent == tmp_path and os.stat(draft.path).st_dev == os.stat(tmp_path).st_dev
        assert draft.published is None
    assert (tmp_path / "1" / "file").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [ExportError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_behind(tmp_path, error):
    _publish(tmp_path / "kept")
    for model in (tmp_path / "kept", tmp_path / "models" / "new"):
        with pytest.raises(error), new_version(model) as draft:
            (draft.path / "folder").mkdir()
            (draft.path / "folder" / "file").write_text("x")
            raise error
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "kept/1", "kept/1/file"]


def test_a_number_taken_meanwhile_is_left_to_the_other(tmp_path):
    with new_version(tmp_path) as first:
        (first.path / "file").write_text("first")
        _publish(tmp_path, content="second")
    assert first.published == tmp_path / "2"
    with pytest.raises(ExportError, match="version 5 exists"), new_version(tmp_path, 5):
        _publish(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "5"]


@pytest.mark.parametrize("version", [0, -1, 2**63])
def test_a_version_that_the_server_cannot_read_is_refused(tmp_path, version):
    with pytest.raises(ExportError, match="integer from 1 to"), new_version(tmp_path / "model", version):
        raise AssertionError("the block must not be entered")
    assert not (tmp_path / "model").exists()


def test_a_file_in_the_place_of_the_model_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="must be a directory"), new_version(tmp_path / "file"):
        raise AssertionError("the block must not be entered")
