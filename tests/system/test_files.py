"""Files are whole or absent, and what the system refuses is one line that names the file; defects keep a traceback."""

import errno
import json
import os
import resource
import stat

import pytest
import tensorflow as tf

from cml_tf.experiments.runs import train_run
from cml_tf.system.file_faults import file_fault
from cml_tf.system.files import atomic_file, write_json, write_text
from tests.helpers.programs import ROOT, run_programs
from tests.helpers.small_configs import waves


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [{}, {"file.bin": b"old"}])
def test_a_failing_block_leaves_what_was_there_before(tmp_path, error, before):
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error), atomic_file(tmp_path / "file.bin") as file:
        file.write(b"new, but cut sho")
        raise error
    assert contents(tmp_path) == before


def test_files_are_new_with_their_folders_or_replaced_whole(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with atomic_file(path) as file:
        file.write(b"a long first version")
        assert not path.exists(), "the file appeared before it was whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    write_text(path, "short, ä")
    assert contents(path.parent) == {"file": "short, ä".encode()}
    write_json(path, {"b": [1, 2.5], "a": None})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": None, "b": [1, 2.5]} and list(contents(path.parent)) == ["file"]


FAULTS = [
    (lambda folder: (folder / ("x" * 300)).mkdir(), "file name too long"),
    (lambda folder: (folder / "file" / "x").read_text(), "file is where a folder was expected"),
    (lambda folder: (folder / "folder").read_text(), "folder is where a file was expected"),
    (lambda folder: (folder / "file").mkdir(), "file exists"),
    (lambda folder: (folder / "nothing").read_text(), "Check the path"),
    (lambda folder: (folder / "circle").read_text(), "Correct the symbolic links"),
    (lambda _: tf.io.gfile.GFile("/dev/full", "w").write("x" * 10**6), "Free some space"),
    (lambda folder: tf.io.gfile.GFile(str(folder)).read(), "folder is where a file was expected"),
    (lambda folder: tf.io.read_file(str(folder / "nothing")), "Check the path"),
]


@pytest.mark.parametrize(("action", "expected"), FAULTS)
def test_faults_of_files_say_which_and_what_to_do(action, expected, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises((OSError, tf.errors.OpError)) as caught:
        action(tmp_path)
    told = file_fault(caught.value)
    assert expected in told and "\n" not in told and told.startswith(("/dev/full cannot be", f"{tmp_path}"))


def test_faults_that_a_test_cannot_cause_and_defects_which_are_none(tmp_path):
    for number in (errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE):
        told = file_fault(OSError(number, os.strerror(number), str(tmp_path / "x")))
        assert told.startswith(f"{tmp_path / 'x'} cannot be ") and os.strerror(number).lower() in told
    for error in (
        ValueError("no fault of a file"),
        OSError("no number"),
        OSError(errno.EBADF, "Bad file descriptor"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", str(ROOT / "cml_tf/system/lost")),
        tf.errors.InvalidArgumentError(None, None, "shapes must be equal; they are not"),
    ):
        assert file_fault(error) is None


WAVES = "--config=configs/sinusoid.py:5shot,smoke"
SMALL = ["--config.learner.hidden=(4,)", "--config.train.steps=2", "--config.train.meta_batch=1", "--verbose=0"]
PROGRAMS = [
    ["cml_tf.train", WAVES, *SMALL, "--workdir={}/file/run"],
    ["cml_tf.train", WAVES, *SMALL, "--workdir={}/" + "x" * 300],
    ["cml_tf.evaluate", "--workdir={}/file/run"],
    ["cml_tf.report", "--results={}/folder"],
    ["export.savedmodel", "--workdir={}/file/run", "--model_dir={}/model"],
    ["export.serve", "--model_dir={}/file/model"],
    ["export.serve", "--model_config_file={}/folder"],
    ["export.client.predict", "--adapted={}/folder", "--query={}/file", "--model=m"],
    ["export.client.adapt", "--support={}/file/x", "--output={}/task.npz", "--model=m"],
    ["export.rollout", "--model_config_file={}/folder", "--model=m", "--version=1"],
]


def test_programs_end_with_one_line(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    calls = [[word.replace("{}", str(tmp_path)) for word in words] for words in PROGRAMS]
    for call, finished in zip(calls, run_programs(calls), strict=True):
        assert finished.code == 2 and len(finished.messages) == 1, (call, finished)
        assert finished.messages[0].startswith("error: ") and str(tmp_path) in finished.messages[0], (call, finished)


def test_a_write_that_fails_in_the_middle_is_one_line(tmp_path):
    """The limit of some KiB lets the small files through and stops the checkpoint, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            train_run(waves("maml"), tmp_path / "run", verbose=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = file_fault(caught.value)
    assert told.startswith(f"{tmp_path / 'run'}/checkpoints/") and "\n" not in told
    assert not list((tmp_path / "run" / "checkpoints").glob(".*")), "something half-written is left"
