"""Processes side by side: each is told of as it ends, and none outlives the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import pytest

from cml_tf.system.processes import end_with_parent, run_side_by_side
from tests.helpers.programs import ROOT

# Says that it runs, then waits for a signal, and notes which one it got.
WAITS = """
import pathlib, signal, sys
def stop(number, frame):
    pathlib.Path(sys.argv[2]).write_text("stopped" if number == signal.SIGTERM else "interrupted")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
open(sys.argv[1], "w").write("running")
while True:
    signal.pause()
"""
# Two that wait, and a third that there is no place for.
PARENT = """
import signal, sys
from cml_tf.system.processes import run_side_by_side
# Shells start what runs in the background deaf to Ctrl-C, and so these tests perhaps.
signal.signal(signal.SIGINT, signal.default_int_handler)
programs = {name: [sys.executable, "-c", sys.argv[1], f"{name}.begun", f"{name}.ended"] for name in "abc"}
try:
    for _ in run_side_by_side(programs, 2):
        pass
except KeyboardInterrupt:
    sys.exit(130)
"""


# The same, of a program that ends with its parent.
FOLLOWS = f"from cml_tf.system.processes import end_with_parent\nend_with_parent()\n{WAITS}"


@pytest.fixture
def parent(tmp_path):
    """Starts one in a session of its own, and waits until its two programs run."""

    def start(program, *ends):
        for name in ("a.begun", "b.begun", *ends):
            os.mkfifo(tmp_path / name)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PARENT, program]
        started = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
        for name in "ab":
            assert (tmp_path / f"{name}.begun").read_text() == "running"
        return started

    return start


def test_a_parent_that_is_killed_takes_its_programs_along(tmp_path, parent):
    started = parent(FOLLOWS, "a.ended", "b.ended")
    started.kill()
    started.wait(60)
    for name in "ab":
        said = subprocess.run(["cat", f"{name}.ended"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert said.stdout == "stopped"


def test_a_program_that_nobody_watches_begins_and_one_whose_parent_is_gone_does_not(monkeypatch):
    monkeypatch.delenv("CML_TF_PARENT_PROCESS", raising=False)
    end_with_parent()
    monkeypatch.setenv("CML_TF_PARENT_PROCESS", "1234567")
    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: SimpleNamespace(prctl=lambda *arguments: 0))
    with pytest.raises(KeyboardInterrupt):
        end_with_parent()


def test_each_is_told_of_with_what_it_printed_and_those_that_run_are_ended_when_the_loop_is_left(tmp_path):
    os.mkfifo(tmp_path / "begun")
    waits = [sys.executable, "-c", WAITS, str(tmp_path / "begun"), str(tmp_path / "ended")]
    quick = [sys.executable, "-c", "print('done'); raise SystemExit(3)"]
    with closing(run_side_by_side({"waits": waits, "quick": quick}, 2)) as ended:
        name, end = next(ended)
        assert (name, end.returncode, end.stdout) == ("quick", 3, "done\n")
        assert (tmp_path / "begun").read_text() == "running"
    assert (tmp_path / "ended").read_text() == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_and_starts_no_further_one(tmp_path, parent, number):
    started = parent(WAITS)
    # As a terminal does: to all of its processes. Those that run here take a signal of their parent only.
    os.killpg(started.pid, number)
    assert started.wait(60) == 130
    ended = {path.name: path.read_text() for path in tmp_path.glob("*.ended")}
    assert ended == {"a.ended": "stopped", "b.ended": "stopped"}
