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


def _arguments(line):
    words = shlex.split(line)
    assert words[1] == "-m"
    return words[2], dict(word.removeprefix("--").split("=", 1) for word in words[3:])


PRESETS = {
    MAML: (presets.images("glyphs", "maml"), IMAGE_OVERRIDES),
    CML: (presets.images("glyphs", "cml"), IMAGE_OVERRIDES),
    SINUSOID: (presets.sinusoid("cml,10shot"), WAVE_OVERRIDES),
}


def test_configurations_are_presets_and_overrides_and_trainings_by_hand_have_the_very_same():
    plan, flat = Plan(Path("runs/quickstart")), {}
    for (name, (preset, overrides)), line in zip(PRESETS.items(), plan.reproduce()[1].text.splitlines(), strict=True):
        check_config(plan.config(name))
        flat[name] = _flat(plan.config(name))
        assert flat[name] == {**_flat(preset), **overrides}
        module, arguments = _arguments(line)
        config, prefix = load_config(f"{ROOT}/{arguments['config']}"), "config."
        given = {key.removeprefix(prefix): value for key, value in arguments.items() if key.startswith(prefix)}
        config.update_from_flattened_dict({key: type(flat[name][key])(value) for key, value in given.items()})
        assert module == "cml_tf.train" and _flat(config) == flat[name]
    # Both methods have one budget and seed.
    assert {key for key in flat[MAML] if flat[MAML][key] != flat[CML].get(key)} == {"objective.terms"}


def test_next_commands_name_what_exists_and_quote_what_needs_it(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = Plan(tmp_path / "with space")
    look, evaluate, train = plan.next_commands()
    assert shlex.split(look.text)[-1] == (tmp_path / "with space" / "report.html").as_uri()
    module, arguments = _arguments(evaluate.text)
    runs = [str(plan.run_directory(name)) for name in (CML, MAML)]
    assert (module, arguments["workdir"], arguments["compare"]) == ("cml_tf.evaluate", *runs)
    module, arguments = _arguments(train.text)
    assert module == "cml_tf.train" and _flat(load_config(arguments["config"]))
    # The interpreter is written as one would type it.
    monkeypatch.chdir(tmp_path)
    for path, typed in ((tmp_path / ".venv/bin/python", ".venv/bin/python"), ("/opt/my python", "'/opt/my python'")):
        monkeypatch.setattr(sys, "executable", str(path))
        assert interpreter() == typed


def test_a_foreign_directory_or_file_is_refused(tmp_path):
    for path in (tmp_path / "new", tmp_path):
        check_workdir(Plan(path))
    (tmp_path / "thesis.txt").write_text("mine")
    for path, message in ((tmp_path, "no quickstart"), (tmp_path / "thesis.txt", "a directory")):
        with pytest.raises(RunError, match=message):
            check_workdir(Plan(path))
    (tmp_path / MAML).mkdir()
    check_workdir(Plan(tmp_path))
