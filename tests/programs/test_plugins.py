"""CONTRIBUTING's worked example: a member from outside the package is trained, evaluated, saved and exported."""

from __future__ import annotations

import json
import re

import pytest

from tests.helpers.programs import ROOT, run_programs

pytestmark = pytest.mark.slow

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SOURCE = re.search(r"```python\n(# sign_descent\.py\n.*?)```", TEXT, re.DOTALL)[1]
COMMANDS = re.findall(
    r"^\.venv/bin/python -m ([\w.]+ --plugins=sign_descent.*)$", TEXT.replace("\\\n", ""), re.MULTILINE
)
SAVED = """
import sign_descent, cml_tf
cml_tf.load('{0}/runs/signs').save('{0}/saved')
print(cml_tf.load('{0}/saved').adapt([[0.0], [1.0]], [0.0, 1.0]).predict([[0.5]]).shape)
"""
# Its running statistics would leak from task to task: the class refuses it, not the configuration.
LEAKY = """
import keras
from cml_tf.learners import Learner
from cml_tf.registry import register


@register("learner", "leaky", reads=("numbers",))
def build(options, given):
    'One hidden layer, normalised.'
    extractor = keras.Sequential([keras.layers.Dense(2), keras.layers.BatchNormalization(name="running")])
    return Learner(extractor, keras.layers.Dense(given.outputs), input_shape=given.input_shape)
"""
NOBODYS = ("nobodys_module", "sign_descent.missing")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder, and what came of all calls, which see what those before them left."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "sign_descent.py").write_text(SOURCE)
    (folder / "saved_signs.py").write_text(SAVED.format(folder))
    (folder / "leaky.py").write_text(LEAKY)
    train, evaluate, export = (command.replace("runs/", f"{folder}/runs/") for command in COMMANDS)
    without = evaluate.replace(" --plugins=sign_descent", "")
    flags = (f"--plugins={NOBODYS[0]}", f"--plugins {NOBODYS[1]}")
    nobodys = [f"cml_tf.evaluate {flag} --workdir=nowhere" for flag in flags]
    leaky = f"cml_tf.train --plugins=leaky --config=configs/sinusoid.py:maml,leaky,smoke --workdir={folder}/leaky"
    calls = [train, evaluate, export, without, "saved_signs", leaky, *nobodys, "cml_tf.train --help"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        return folder, run_programs([call.split() for call in calls])


def test_a_member_from_outside_is_as_good_as_ours(ended):
    folder, (train, evaluate, export, without, saved, *_) = ended
    for finished in (train, evaluate, export, saved):
        assert finished.code == 0, finished.err[-2000:]
    config = json.loads((folder / "runs/signs/config.json").read_text())["adaptation"]
    assert config["update"] == "sign_descent" and config["rate"] == 0.001
    assert evaluate.last_json["metric"] == "mse" and saved.out == "(1, 1)\n"
    assert (folder / "runs/models/signs/1/saved_model.pb").is_file()
    assert without.code == 2 and "received 'sign_descent'" in without.err and "--plugins=" in without.err


def test_what_a_learner_from_outside_does_wrong_is_told_in_one_line(ended):
    _, (*_, leaky, _, _, _) = ended
    assert leaky.code == 2, leaky.err[-2000:]
    assert len(leaky.messages) == 1
    assert leaky.messages[0].startswith("error: layer 'running' (BatchNormalization) has running state")


def test_a_plugin_that_there_is_not_is_told_in_one_line_and_help_lists_the_words(ended):
    *_, first, second, help_text = ended[1]
    for name, finished in zip(NOBODYS, (first, second), strict=True):
        assert finished.code == 2 and f"received '{name}'" in finished.err and finished.err.count("error:") == 1
    assert help_text.code == 0
    assert all(word in help_text.out for word in ("kernel_ridge", "meta_sgd", "smoke", "--plugins"))
