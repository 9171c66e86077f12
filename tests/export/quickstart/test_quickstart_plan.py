from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from cml_tf.experiments import presets
from cml_tf.experiments.configuration import check_config, flatten, load_config
from cml_tf.experiments.runs import RunError
from export.quickstart.plan import CML, IMAGE_OVERRIDES, MAML, SINUSOID, WAVE_OVERRIDES, Plan, interpreter
from export.quickstart.training import check_workdir
from tests.helpers.programs import ROOT


def _flat(config):
    return dict(flatten(config.to_dict()))


def test_both_methods_have_one_budget_and_seed():
    maml, cml = (_flat(Plan(Path("runs")).config(name)) for name in (MAML, CML))
    assert {key for key in maml if maml.get(key) != cml.get(key)} == {"objective.terms"}


def test_configurations_are_presets_and_overrides_and_nothing_else():
    for name, preset, overrides in (
        (CML, presets.images("glyphs", "cml"), IMAGE_OVERRIDES),
        (MAML, presets.images("glyphs", "maml"), IMAGE_OVERRIDES),
        (SINUSOID, presets.sinusoid("cml,10shot"), WAVE_OVERRIDES),
    ):
        config = Plan(Path("runs")).config(name)
        check_config(config)
        assert _flat(config) == {**_flat(preset), **overrides}


def _arguments(line):
    words = shlex.split(line)
    assert words[1] == "-m"
    return words[2], dict(word.removeprefix("--").split("=", 1) for word in words[3:])


def test_trainings_by_hand_have_the_very_configuration_of_the_plan():
    plan = Plan(Path("runs/quickstart"))
    lines = plan.reproduce()[1].text.splitlines()
    for name, line in zip((MAML, CML, SINUSOID), lines, strict=True):
        module, arguments = _arguments(line)
        assert module == "cml_tf.train"
        config = load_config(f"{ROOT}/{arguments['config']}")
        overrides = {
            key.removeprefix("config."): value for key, value in arguments.items() if key.startswith("config.")
        }
        config.update_from_flattened_dict({key: type(_flat(config)[key])(value) for key, value in overrides.items()})
        assert _flat(config) == _flat(plan.config(name))


def test_next_commands_name_what_exists_and_quote_what_needs_it(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = Plan(tmp_path / "with space")
    look, evaluate, train = plan.next_commands()
    assert shlex.split(look.text)[-1] == (tmp_path / "with space" / "report.html").as_uri()
    module, arguments = _arguments(evaluate.text)
    assert module == "cml_tf.evaluate"
    assert arguments["workdir"] == str(plan.run_directory(CML))
    assert arguments["compare"] == str(plan.run_directory(MAML))
    module, arguments = _arguments(train.text)
    assert module == "cml_tf.train" and _flat(load_config(arguments["config"]))


def test_the_interpreter_is_written_as_one_would_type_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv" / "bin" / "python"))
    assert interpreter() == ".venv/bin/python"
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    assert interpreter() == "'/opt/my python/bin/python'"


def test_a_foreign_directory_or_file_is_refused(tmp_path):
    check_workdir(Plan(tmp_path / "new"))
    check_workdir(Plan(tmp_path))
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and contains no quickstart"):
        check_workdir(Plan(tmp_path))
    with pytest.raises(RunError, match="must be a directory"):
        check_workdir(Plan(tmp_path / "thesis.txt"))
    (tmp_path / MAML).mkdir()
    check_workdir(Plan(tmp_path))
