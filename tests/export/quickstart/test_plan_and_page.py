"""What the quickstart will do, by hand and by itself, and what its page says."""

import html
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cml_tf.experiments import presets
from cml_tf.experiments.configuration import check_config, flatten, load_config
from cml_tf.experiments.stored import RunError
from cml_tf.studies.page import render_page
from cml_tf.training.evaluator import Evaluation, PairedDifference, compare
from export.quickstart.page import Classified, QuickstartResults, quickstart_page, reading
from export.quickstart.plan import CML, IMAGE_OVERRIDES, MAML, SINUSOID, WAVE_OVERRIDES, Plan, interpreter
from export.quickstart.training import check_workdir
from tests.helpers.programs import ROOT

_PLAN = Plan(Path("runs/quickstart"))
_CONFIG = _PLAN.config(CML)
_COMMANDS = (*_PLAN.reproduce(), *_PLAN.next_commands())


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
    plan, flat = _PLAN, {}
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


def _evaluation(mean, metric="accuracy"):
    return Evaluation(metric, np.array([mean - 0.01, mean, mean + 0.01]), 0, "same", {})


def test_numbers_settings_commands_and_versions_are_on_the_page():
    maml, cml = (_evaluation(mean) for mean in (0.7125, 0.7350))
    results = QuickstartResults(
        maml=Classified(_PLAN.config(MAML), maml, 1000, 1000),
        cml=Classified(_CONFIG, cml, 1000, 1750),
        difference=replace(compare(cml, maml), ci95=0.004),
        class_counts={"train": 862, "validation": 225, "test": 107},
        letters=("Ա armenian capital letter ayb", "<i>"),
        sinusoid=_PLAN.config(SINUSOID),
        sinusoid_scores={0: _evaluation(2.5, "mse"), 1: _evaluation(0.75, "mse")},
        reproduce=_PLAN.reproduce(),
        next_commands=(*_PLAN.next_commands(), _PLAN.notebook()),
        versions={"Python": "3.11.0", "tensorflow": "2.21.0"},
    )
    page = render_page(quickstart_page(results))
    assert "<i>" not in page and "&lt;i&gt;" in page, "names of classes are escaped"
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2])))
    # Three scores 0.01 apart: Student's quantile 4.3027 times 0.01 / sqrt(3) is 2.48 points.
    for twice in ("71.25 ± 2.48 %", "73.50 ± 2.48 %", "+2.25 ± 0.40 points"):
        assert words.count(twice) >= 2
    for told in (
        *("1,000", "1,750", "862 Latin", "225 Greek", "107 Armenian", "2.50 ± 0.02", "0.75 ± 0.02", "3.11.0", "2.21.0"),
        f"{_CONFIG.train.steps} meta-steps of {_CONFIG.train.meta_batch} episodes",
        f"rate {_CONFIG.adaptation.rate:g}",
        *(f"{part.queries} queries of each" for part in (_CONFIG.dataset, _CONFIG.eval)),
        *(re.sub(r"\s+", " ", command.text) for command in _COMMANDS),
    ):
        assert told in words


READINGS = [
    (0.02, "1.60 to 2.40 points, does not contain zero.* this CML run is better than this MAML"),
    (-0.02, "−2.40 to −1.60 points, does not contain zero.* this MAML run is better than this"),
    (0.001, "−0.30 to 0.50 points, contains zero: these 600 episodes do not show"),
]


@pytest.mark.parametrize(("mean", "says"), READINGS)
def test_the_reading_follows_the_interval_and_names_its_limits(mean, says):
    text = reading(PairedDifference(mean, 0.004, 600))
    assert re.search(says, text) and "one seed" in text and "does not compare the methods in general" in text
