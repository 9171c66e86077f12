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


def _names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_versions_count_up_from_the_newest(tmp_path):
    model = tmp_path / "models" / "glyphs"
    for asked, given in ((None, "1"), (7, "7"), (None, "8"), (3, "3")):
        assert _publish(model, asked) == model / given
    assert sorted(existing_versions(model)) == [1, 3, 7, 8]


def test_names_are_read_as_the_server_reads_them(tmp_path):
    for name in ("0007", "8.tmp", "abc", "v9", "-5", "tmp-12", "٣", str(2**63), "9" * 200):
        (tmp_path / name).mkdir()
    assert existing_versions(tmp_path) == {7: tmp_path / "0007"}
    assert _publish(tmp_path) == tmp_path / "8"
    with pytest.raises(ExportError, match="version 7 exists"):
        _publish(tmp_path, 7)


def test_a_place_without_a_version_is_described(tmp_path):
    for name in ("named/v1", "named/latest", "model/3", "export", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("model/3/saved_model.pb", "export/saved_model.pb", "file"):
        (tmp_path / name).touch()
    for name, expected in {
        "nothing": "it does not exist",
        "file": "it is a file",
        "empty": "it is empty",
        "named": "it contains latest, v1",
        "model/3": f"it is a version itself.* Use {tmp_path}/model[.]$",
        "export": f"it is a version itself.* Move its contents to {tmp_path}/export/1[.]$",
    }.items():
        told = why_no_version(tmp_path / name)
        assert re.search(expected, told) and "A version is a directory with a number" in told, told


def test_until_the_end_nothing_stands_under_a_number(tmp_path):
    with new_version(tmp_path) as draft:
        (draft.path / "file").write_text("x")
        assert existing_versions(tmp_path) == {}
        assert draft.path.parent == tmp_path and os.stat(draft.path).st_dev == os.stat(tmp_path).st_dev
        assert draft.published is None
    assert (tmp_path / "1" / "file").read_text() == "x" and _names(tmp_path) == ["1"]
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
    assert _names(tmp_path) == ["1", "2", "5"]


def test_a_version_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    wrong = [("model", version, "integer from 1 to") for version in (0, -1, 2**63)]
    for name, version, message in [*wrong, ("file", None, "must be a directory")]:
        with pytest.raises(ExportError, match=message), new_version(tmp_path / name, version):
            raise AssertionError("the block must not be entered")
    assert not (tmp_path / "model").exists()
