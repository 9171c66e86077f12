"""What the system refuses is one line that names the file; a defect keeps its traceback."""

import errno
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from cml_tf.system.file_faults import file_fault
from cml_tf.system.files import write_text
from tests.helpers.programs import ROOT, environment, run_programs


def _caught(action):
    with pytest.raises((OSError, tf.errors.OpError)) as caught:
        action()
    return caught.value


FAULTS = {
    "a name too long": (lambda folder: (folder / ("x" * 300)).mkdir(), "file name too long"),
    "below a file": (lambda folder: (folder / "file" / "x").read_text(), "A file is where a folder was expected"),
    "a folder for a file": (lambda folder: (folder / "folder").read_text(), "A folder is where a file was expected"),
    "a file for a folder": (lambda folder: (folder / "file").mkdir(), "Choose another path, or move what is there"),
    "nothing": (lambda folder: (folder / "nothing").read_text(), "Check the path"),
    "a circle of links": (lambda folder: (folder / "circle").read_text(), "Correct the symbolic links"),
    "TensorFlow: a full disk": (lambda _: tf.io.gfile.GFile("/dev/full", "w").write("x" * 10**6), "Free some space"),
    "TensorFlow: a folder": (
        lambda folder: tf.io.gfile.GFile(str(folder)).read(),
        "A folder is where a file was expected",
    ),
    "TensorFlow: in a graph": (lambda folder: tf.io.read_file(str(folder / "nothing")), "Check the path"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_files_say_which_and_what_to_do(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    action, expected = FAULTS[name]
    told = file_fault(_caught(lambda: action(tmp_path)))
    assert told is not None and expected in told and "\n" not in told
    assert told.startswith(("/dev/full cannot be", f"{tmp_path}")) and " cannot be " in told


NUMBERS = "EACCES EPERM EROFS ENOSPC EDQUOT EIO ESTALE EMFILE"


@pytest.mark.parametrize("number", [getattr(errno, name) for name in NUMBERS.split()])
def test_faults_that_a_test_cannot_cause(number, tmp_path):
    told = file_fault(OSError(number, os.strerror(number), str(tmp_path / "x")))
    assert told is not None and told.startswith(f"{tmp_path / 'x'} cannot be ")
    assert os.strerror(number).lower() in told


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no fault of a file"),
        OSError("no number"),
        OSError(errno.EBADF, "Bad file descriptor"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", str(ROOT / "cml_tf/system/lost")),
        tf.errors.InvalidArgumentError(None, None, "shapes must be equal; they are not"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_defects_are_none(error):
    assert file_fault(error) is None


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text(tmp_path / "kept", "before")
    monkeypatch.setattr(os, "fsync", full)
    error = _caught(lambda: write_text(tmp_path / "kept", "after"))
    assert file_fault(error) == (
        f"{tmp_path / 'kept'} cannot be written: no space left on device. Free some space, or choose a path on "
        "another disk."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (tmp_path / "kept").read_text() == "before"


_WAVES = "--config=configs/sinusoid.py:5shot,smoke"
_SMALL = ["--config.learner.hidden=(4,)", "--config.train.steps=2", "--config.train.meta_batch=1", "--verbose=0"]
PROGRAMS = {
    "train below a file": ["cml_tf.train", _WAVES, *_SMALL, "--workdir={}/file/run"],
    "train with a long name": ["cml_tf.train", _WAVES, *_SMALL, "--workdir={}/" + "x" * 300],
    "evaluate below a file": ["cml_tf.evaluate", "--workdir={}/file/run"],
    "report of a folder": ["cml_tf.report", "--results={}/folder"],
    "export from below a file": ["export.savedmodel", "--workdir={}/file/run", "--model_dir={}/model"],
    "serve below a file": ["export.serve", "--model_dir={}/file/model"],
    "serve with a folder as configuration": ["export.serve", "--model_config_file={}/folder"],
    "ask with a folder as task": ["export.client.predict", "--adapted={}/folder", "--query={}/file", "--model=m"],
    "adapt to nothing": ["export.client.adapt", "--support={}/file/x", "--output={}/task.npz", "--model=m"],
    "roll out a folder": ["export.rollout", "--model_config_file={}/folder", "--model=m", "--version=1"],
}


def test_programs_end_with_one_line(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    calls = [[word.replace("{}", str(tmp_path)) for word in words] for words in PROGRAMS.values()]
    for name, finished in zip(PROGRAMS, run_programs(calls), strict=True):
        assert finished.code == 2, (name, finished)
        assert len(finished.messages) == 1 and finished.messages[0].startswith("error: "), (name, finished)
        assert str(tmp_path) in finished.messages[0], (name, finished)


def _run(command):
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


def test_a_write_that_fails_in_the_middle_is_one_line(tmp_path):
    """The limit of some KiB lets the small files through and stops the checkpoint, as a full disk does."""
    words = [f"'{word}'" for word in (_WAVES, *_SMALL, f"--workdir={tmp_path / 'run'}")]
    done = _run(f"ulimit -f 4; exec {sys.executable} -m cml_tf.train {' '.join(words)}")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path / 'run'}/checkpoints/"), done
    assert not list((tmp_path / "run" / "checkpoints").glob(".*")), "something half-written is left"


@pytest.mark.parametrize(
    ("output", "expected"), [(">/dev/full", "No space left on device"), ("| true", "Broken pipe")], ids=["full", "gone"]
)
def test_output_that_cannot_be_printed_is_one_line(output, expected):
    program = "from cml_tf.system.command_line import run; run(lambda _: print('done'))"
    done = _run(f'set -o pipefail; env -u PYTHONUNBUFFERED {sys.executable} -c "{program}" {output}')
    assert done.returncode == 2 and "Traceback" not in done.stderr, done
    assert done.stderr.strip().splitlines()[-1] == (
        f"error: the program finished, but its output could not be written ({expected}): redirect it to another place."
    )
