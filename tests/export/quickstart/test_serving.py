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

from export.client import Adapted
from export.quickstart.training import train_and_report
from tests.helpers.programs import ROOT, environment
from tests.helpers.small_quickstart import small_plan

pytestmark = pytest.mark.slow


def _program(workdir, keep_serving):
    """The second half alone: the program trains for minutes before."""
    call = f"export_and_serve(Path({str(workdir)!r}), Console(width=200), 0, {keep_serving})"
    imports = "from pathlib import Path; from rich.console import Console"
    return [
        sys.executable,
        "-c",
        f"{imports}; from export.quickstart.serving import export_and_serve; {call}",
    ]


def _second_half(workdir):
    return subprocess.run(
        _program(workdir, False), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What the first half leaves behind."""
    directory = tmp_path_factory.mktemp("quickstart")
    train_and_report(small_plan(directory), Console(file=io.StringIO()), verbose=0)
    return directory


@pytest.fixture(scope="module")
def first(workdir):
    return _second_half(workdir)


def test_it_exports_serves_and_adapts(first, workdir):
    assert first.returncode == 0, first.stderr
    assert "3/3" in first.stdout and "75 others told apart" in first.stdout
    assert (workdir / "models" / "letters" / "1" / "saved_model.pb").is_file()
    assert (workdir / "letters.html").read_text().count("data:image/png") == 5 + 75
    adapted = Adapted.load(workdir / "letters" / "task.npz")
    assert adapted.model == "letters" and len(adapted.class_names) == 5
    assert sorted(path.name for path in (workdir / "letters" / "support").iterdir()) == list(adapted.class_names)
    assert f"--model_config_file={workdir / 'models' / 'models.config'} --playground" in first.stdout


def test_a_second_time_nothing_is_exported_anew_and_it_serves_until_told(first, workdir):
    process = subprocess.Popen(
        _program(workdir, True), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
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
