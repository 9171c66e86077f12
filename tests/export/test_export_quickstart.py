"""The quickstart's second half: export, serve, adapt through the server."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from cml_tf.quickstart import quickstart
from export.client import Adapted
from tests.helpers.programs import ROOT, environment, run_program
from tests.helpers.small_quickstart import small_plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What the first half leaves behind."""
    directory = tmp_path_factory.mktemp("quickstart")
    quickstart(small_plan(directory), Console(file=io.StringIO()), verbose=0)
    return directory


@pytest.fixture(scope="module")
def first(workdir):
    return run_program("export.quickstart", f"--workdir={workdir}")


def test_it_exports_serves_and_adapts(first, workdir):
    assert first.code == 0, first.err
    assert "3/3" in first.out and "75 others told apart" in first.out
    assert (workdir / "models" / "letters" / "1" / "saved_model.pb").is_file()
    assert (workdir / "letters.html").read_text().count("data:image/png") == 5 + 75
    adapted = Adapted.load(workdir / "letters" / "task.npz")
    assert adapted.model == "letters" and len(adapted.class_names) == 5
    assert sorted(path.name for path in (workdir / "letters" / "support").iterdir()) == list(adapted.class_names)
    assert f"--model_config_file={workdir / 'models' / 'models.config'} --playground" in first.out


def test_a_second_time_nothing_is_exported_anew_and_it_serves_until_told(first, workdir):
    words = [sys.executable, "-m", "export.quickstart", f"--workdir={workdir}", "--keep_serving"]
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "export.client.predict" in line:
            break
    pages = re.findall(r"http://127\.0\.0\.1:\d+/playground/\?model=(\w+)", "".join(printed))
    assert pages == ["letters", "waves"]
    # As a terminal does: to all of its processes.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()
    for model in ("letters", "waves"):
        assert [path.name for path in (workdir / "models" / model).iterdir()] == ["1"]


def test_without_the_first_half_it_is_one_line(tmp_path):
    done = run_program("export.quickstart", f"--workdir={tmp_path / 'nothing'}")
    assert done.code == 2
    assert len(done.messages) == 1 and str(tmp_path / "nothing" / "cml") in done.messages[0]
    assert not (tmp_path / "nothing").exists()
