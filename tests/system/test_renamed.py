"""Names of before: modules and configuration files are found under them."""

import importlib
import sys

import pytest

import cml_tf
from cml_tf.experiments.configuration import load_config
from cml_tf.system.renamed import MODULES, config_source
from tests.helpers.documents import ROOT


@pytest.mark.parametrize("old", MODULES)
def test_a_module_is_found_under_its_old_name(monkeypatch, old):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} has been renamed {MODULES[old]}"):
        found = importlib.import_module(old)
    public = {name: value for name, value in vars(importlib.import_module(MODULES[old])).items() if name[0] != "_"}
    assert public and all(getattr(found, name) is value for name, value in public.items())


CONFIGURATIONS = {
    "configs/omniglot_5way_1shot_cml.py:boil": "configs/omniglot.py:cml,5way,1shot,boil",
    "configs/sinusoid_10shot_maml.py": "configs/sinusoid.py:maml,10shot",
    "/a/b/mini_imagenet_5way_5shot_maml.py:smoke,cl": "/a/b/mini_imagenet.py:maml,5way,5shot,smoke,cl",
    "configs/omniglot.py:cml": "configs/omniglot.py:cml",
    "own_experiment.py:smoke": "own_experiment.py:smoke",
}


def test_old_configurations_are_what_they_were_and_a_file_that_is_there_is_no_old_name(monkeypatch, tmp_path):
    assert {old: config_source(old) for old in CONFIGURATIONS} == CONFIGURATIONS
    path = tmp_path / "mine_5way_1shot_cml.py"
    path.write_text("")
    assert config_source(str(path)) == str(path)
    monkeypatch.chdir(ROOT)
    old, new = map(load_config, ("configs/cora_2way_5shot_maml.py:smoke", "configs/cora.py:maml,2way,5shot,smoke"))
    assert old.to_dict() == new.to_dict() and old.dataset.shots == 5


def test_public_names_of_before_stay():
    assert cml_tf.datasets.load_dataset is cml_tf.datasets.load
    assert callable(cml_tf.Trainer.model)
    with pytest.raises(ModuleNotFoundError, match=r"cml_tf\.nothing"):
        importlib.import_module("cml_tf.nothing")
