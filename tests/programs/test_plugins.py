"""CONTRIBUTING's worked example: a member from outside the package is trained, evaluated, saved and exported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.helpers.programs import ROOT, run_programs

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SOURCE = re.search(r"```python\n(# sign_descent\.py\n.*?)```", TEXT, re.DOTALL)[1]
COMMANDS = re.findall(
    r"^\.venv/bin/python (-m [\w.]+ --plugins=sign_descent.*)$", TEXT.replace("\\\n", ""), re.MULTILINE
)


def run(command, folder):
    arguments = command.replace("--config=configs/", f"--config={ROOT}/configs/").split()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_member_from_outside_is_as_good_as_ours(tmp_path):
    (tmp_path / "sign_descent.py").write_text(SOURCE)
    (train, evaluate, export), results = COMMANDS, []
    for command in (train, evaluate, export):
        results.append(run(command, tmp_path))
        assert results[-1].returncode == 0, results[-1].stderr[-2000:]
    config = json.loads((tmp_path / "runs/signs/config.json").read_text())["adaptation"]
    assert config["update"] == "sign_descent" and config["rate"] == 0.001
    assert json.loads(results[1].stdout.splitlines()[-1])["metric"] == "mse"
    assert (tmp_path / "runs/models/signs/1/saved_model.pb").is_file()
    without = run(evaluate.replace(" --plugins=sign_descent", ""), tmp_path)
    assert without.returncode == 2
    assert "received 'sign_descent'. To use a member of your own, import it first (--plugins=" in without.stderr
    saved = (
        "import sign_descent, cml_tf; cml_tf.load('runs/signs').save('saved'); model = cml_tf.load('saved');"
        "print(model.adapt([[0.0], [1.0]], [0.0, 1.0]).predict([[0.5]]).shape)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", saved],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        == "(1, 1)"
    )


@pytest.mark.parametrize("name", ["nobodys_module", "sign_descent.missing"])
def test_a_plugin_that_there_is_not_is_told_in_one_line(name, tmp_path):
    (tmp_path / "sign_descent.py").write_text(SOURCE)
    result = run(f"-m cml_tf.evaluate --plugins={name} --workdir=nowhere", tmp_path)
    assert result.returncode == 2 and f"received '{name}'" in result.stderr and result.stderr.count("error:") == 1


def test_help_lists_the_words_and_ends_well(tmp_path):
    (finished,) = run_programs([["cml_tf.train", "--help"]])
    assert finished.code == 0
    assert all(word in finished.out for word in ("kernel_ridge", "meta_sgd", "smoke", "--plugins"))
