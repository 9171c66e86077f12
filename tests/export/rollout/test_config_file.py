"""The file of the servers: one rollout at a time, nobody's change lost, and what it is stays."""

import os
import stat

import pytest

from export.rollout.config_file import ConfigFile, opened
from export.rollout.errors import RolloutError

_TEXT = """# What we serve.
model_config_list {
  config {
    name: "halver" base_path: "/models/halver" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 }
  }
  config { name: "other" base_path: "/models/other" model_platform: "tensorflow" }
}
"""


def test_two_rollouts_on_one_file_do_not_undo_each_other(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(_TEXT)
    with opened(path, "halver"), pytest.raises(RolloutError, match="another rollout works on .*: wait"):
        opened(path, "other").__enter__()
    (tmp_path / "link").symlink_to(path)
    with opened(path, "halver"), pytest.raises(RolloutError, match="another rollout works on .*link: wait"):
        opened(tmp_path / "link", "other").__enter__()
    # Whoever asks for no lock does not overwrite either.
    first, second = ConfigFile(path, "halver"), ConfigFile(path, "other")
    first.change({1, 2}, {"stable": 2})
    first.write()
    text = path.read_text()
    second.change({1}, {"stable": 1})
    with pytest.raises(RolloutError, match="must stay as it is during a rollout, found a change by somebody else: "):
        second.write()
    assert not second.restore() and path.read_text() == text
    assert first.restore() and path.read_text() == _TEXT


def test_a_file_that_cannot_be_used_leaves_no_lock_and_one_of_another_user_is_no_obstacle(tmp_path, monkeypatch):
    path = tmp_path / "new" / "models.config"
    with pytest.raises(RolloutError, match="must contain"):
        opened(path, "halver").__enter__()
    assert not path.parent.exists()
    path.parent.mkdir()
    path.write_text(_TEXT)
    with opened(path, "halver"):
        pass
    native = os.open

    def foreign(name, how, *more, **named):
        if os.fspath(name).endswith(".lock") and how & os.O_WRONLY:
            raise PermissionError(13, "Permission denied", os.fspath(name))
        return native(name, how, *more, **named)

    monkeypatch.setattr(os, "open", foreign)
    with opened(path, "halver"), pytest.raises(RolloutError, match="another rollout"):
        opened(path, "halver").__enter__()
    (path.parent / ".models.config.lock").unlink()
    with pytest.raises(RolloutError, match="cannot be locked .*denied.*: pass a file"):
        opened(path, "halver").__enter__()


def test_a_symbolic_link_permissions_and_owner_stay(tmp_path, monkeypatch):
    target, link, given = tmp_path / "kept" / "models.config", tmp_path / "models.config", []
    target.parent.mkdir()
    target.write_bytes(b"\xef\xbb\xbf" + _TEXT.replace("\n", "\r\n").encode())
    target.chmod(0o640)
    found, status = target.read_bytes(), target.stat()
    link.symlink_to(target)
    monkeypatch.setattr(os, "fchown", lambda descriptor, owner, group: given.append((owner, group)))
    config = ConfigFile(link, "halver")
    config.change({2}, {"stable": 2})
    config.write()
    assert link.is_symlink() and ConfigFile(link, "halver").labels == {"stable": 2}
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert given == [(status.st_uid, -1), (-1, status.st_gid)]
    assert config.restore() and target.read_bytes() == found and stat.S_IMODE(target.stat().st_mode) == 0o640
