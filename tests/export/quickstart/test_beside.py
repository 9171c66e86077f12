"""The second process of the quickstart: what it gives, and how it is stopped."""

import os
import signal
from pathlib import Path

import pytest

from cml_tf.errors import Interrupted, UserError
from export.quickstart.beside import second_process


def other_session():
    return os.getpid(), os.getsid(0)


def refuse():
    raise UserError("steps must be positive, received 0.")


def work_until_told(begun: Path, told: Path):
    """Saves, as a training does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    begun.write_text("begun")
    signal.sigwait({signal.SIGTERM})
    told.write_text("saved")


def test_it_gives_what_a_function_gives_and_its_errors():
    with second_process() as other:
        process, session = other.submit(other_session).result()
        refused = other.submit(refuse)
        with pytest.raises(UserError, match="received 0"):
            refused.result()
    # The Ctrl-C of a terminal does not reach it.
    assert process == session != os.getsid(0)


def test_an_error_here_tells_it_to_stop_and_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "begun")
    with pytest.raises(Interrupted), second_process() as other:
        other.submit(work_until_told, tmp_path / "begun", tmp_path / "told")
        assert (tmp_path / "begun").read_text() == "begun"
        raise Interrupted("stopped")
    assert (tmp_path / "told").read_text() == "saved"


def test_one_that_has_ended_by_itself_is_no_second_error():
    with pytest.raises(UserError, match="of this process"), second_process() as other:
        other.submit(os._exit, 1).exception()
        raise UserError("of this process")
