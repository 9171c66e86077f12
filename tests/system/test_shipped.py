"""Files of `configs/` that come with an installed package; the wheel itself is tested in tests/test_packaging.py."""

import shutil
from pathlib import Path

import pytest

import cml_tf.system.shipped
from cml_tf.experiments.configuration import ConfigurationError, load_config
from cml_tf.studies.sweeps import SweepError, read_sweep
from cml_tf.system.renamed import config_source
from tests.helpers.documents import ROOT


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package's `configs/`, seen from an empty working directory."""
    packaged = shutil.copytree(ROOT / "configs", tmp_path / "package" / "configs")
    monkeypatch.setattr(cml_tf.system.shipped, "_SHIPPED", packaged)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return packaged


def test_configurations_and_sweeps_are_found_from_any_folder(installed):
    assert load_config("configs/sinusoid.py:maml,5shot").dataset.shots == 5
    assert load_config("configs/sinusoid.py").dataset.shots == 10
    old = config_source("configs/omniglot_5way_1shot_cml.py:boil")
    assert old == f"{installed}/omniglot.py:cml,5way,1shot,boil"
    assert len(read_sweep(Path("configs/sweeps/comln.json"))) == 10


def test_the_working_directory_goes_first_and_nothing_else_is_looked_for(installed):
    Path("configs").mkdir()
    shutil.copy(installed / "cora.py", "configs/sinusoid.py")
    assert load_config("configs/sinusoid.py").dataset.name == "cora"
    for path in ("configs/../configs/glyphs.py", "configs/none.py", "glyphs.py", f"{Path.cwd()}/configs/glyphs.py"):
        with pytest.raises(ConfigurationError, match="does not exist"):
            load_config(path)
    with pytest.raises(SweepError):
        read_sweep(Path("configs/sweeps/none.json"))
