"""Every damage to a version is noticed before anything of it is loaded; what killed exporters left is cleared."""

from __future__ import annotations

import fcntl
import os
import shutil

import pytest

from cml_tf.system.manifest import DamagedFile
from export.server.errors import ServingError
from export.server.servable import Servable
from export.versions import CARD, EXTRA, check_files, new_version
from tests.helpers.damage import damaged_copies


@pytest.fixture(scope="module")
def exported(waves, tmp_path_factory):
    with new_version(tmp_path_factory.mktemp("sealed")) as draft:
        shutil.copytree(waves.directory, draft.path, dirs_exist_ok=True)
        (draft.path / EXTRA / CARD).write_text("{}")
    return draft.published


@pytest.fixture
def version(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "1")


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_flipped_bit_and_every_truncation_is_noticed(version, count):
    check_files(version)
    for number, (path, what) in enumerate(damaged_copies(version, count, seed=count)):
        with pytest.raises(DamagedFile):
            check_files(version)
            pytest.fail(f"{what} of {path.name}")
        if number % 40 == 0:
            with pytest.raises(ServingError) as caught:
                Servable(version)
            assert caught.value.code == "DATA_LOSS"
    Servable(version).close()


def test_a_missing_file_is_told_and_a_version_of_before_is_loaded_with_one_warning(version, caplog):
    (version / "variables" / "variables.index").rename(version / "index")
    with pytest.raises(DamagedFile, match=r"variables\.index is missing"):
        check_files(version)
    (version / "index").rename(version / "variables" / "variables.index")
    (version / "assets.extra" / "manifest.json").unlink()
    for _ in range(2):
        Servable(version).close()
    assert caplog.text.count("is from before exports had a manifest.json") == 1


def test_drafts_of_killed_exporters_are_cleared_and_those_of_living_ones_stay(tmp_path):
    for name in (".export-killed", ".export-alive", ".export-begun"):
        (tmp_path / name / "variables").mkdir(parents=True)
        if name != ".export-begun":
            os.utime(tmp_path / name, (0, 0))
    descriptor = os.open(tmp_path / ".export-alive", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with new_version(tmp_path) as draft:
        (draft.path / "saved_model.pb").touch()
    os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".export-alive", ".export-begun", "1"]
