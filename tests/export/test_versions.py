"""Version directories appear whole or not at all."""

import os
import re
from pathlib import Path

import pytest

from export import versions
from export.errors import ExportError
from export.versions import existing_versions, new_version, why_no_version


def _publish(model_dir, version=None):
    with new_version(model_dir, version) as draft:
        (draft.path / "file").write_text("x")
    return draft.published


def test_versions_count_up_from_the_newest_and_are_read_as_the_server_reads_them(tmp_path):
    model = tmp_path / "models" / "glyphs"
    for asked, given in ((None, "1"), (7, "7"), (None, "8"), (3, "3")):
        assert _publish(model, asked) == model / given
    for name in ("0009", "10.tmp", "abc", "v9", "-5", "tmp-12", "٣", str(2**63), "9" * 200):
        (model / name).mkdir()
    assert existing_versions(model) == {**{n: model / str(n) for n in (1, 3, 7, 8)}, 9: model / "0009"}
    assert _publish(model) == model / "10"
    with pytest.raises(ExportError, match="9 exists"):
        _publish(model, 9)


def test_a_number_that_another_export_takes_at_the_last_moment_is_followed_by_the_next(tmp_path, monkeypatch):
    _publish(tmp_path)
    looked = iter([{}, {1: tmp_path / "1"}])
    monkeypatch.setattr(versions, "existing_versions", lambda path: next(looked, existing_versions(path)))
    assert _publish(tmp_path) == tmp_path / "2"


def test_a_draft_that_another_export_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "glob", lambda directory, pattern: [directory / f"{pattern[:-1]}gone"])
    _publish(tmp_path)


def test_a_place_without_a_version_is_described(tmp_path):
    for name in ("named/v1", "named/latest", "model/3", "export", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("model/3/saved_model.pb", "export/saved_model.pb", "file"):
        (tmp_path / name).touch()
    for name, expected in {
        **{"nothing": "does not exist", "file": "a file", "empty": "empty", "named": "latest, v1"},
        "model/3": f"a version itself.* {tmp_path}/model[.]$",
        "export": f"a version itself.* {tmp_path}/export/1[.]$",
    }.items():
        assert re.search(expected, why_no_version(tmp_path / name)), name


def test_until_the_end_nothing_stands_under_a_number(tmp_path):
    with new_version(tmp_path) as draft:
        (draft.path / "file").write_text("x")
        assert existing_versions(tmp_path) == {} and draft.published is None
        assert draft.path.parent == tmp_path and os.stat(draft.path).st_dev == os.stat(tmp_path).st_dev
        other = _publish(tmp_path)
    # A number taken meanwhile is left to the other.
    assert (other.name, draft.published.name, len(list(tmp_path.iterdir()))) == ("1", "2", 2)
    assert (draft.published / "file").read_text() == "x" and draft.published.stat().st_mode & 0o777 == 0o755
    with pytest.raises(ExportError, match="5 exists"), new_version(tmp_path, 5):
        _publish(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "5"]


@pytest.mark.parametrize("error", [ExportError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_behind(tmp_path, error):
    _publish(tmp_path / "kept")
    for model in (tmp_path / "kept", tmp_path / "models" / "new"):
        with pytest.raises(error), new_version(model) as draft:
            (draft.path / "folder").mkdir()
            (draft.path / "folder" / "file").write_text("x")
            raise error
    kept = ["kept/1/assets.extra/manifest.json", "kept/1/file"]
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*")) if path.is_file()] == kept
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_version_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for name, version, message in [("model", 0, "from 1"), ("model", 2**63, "from 1"), ("file", None, "directory")]:
        with pytest.raises(ExportError, match=message), new_version(tmp_path / name, version):
            raise AssertionError("the block must not be entered")
    assert not (tmp_path / "model").exists()
