"""Output that cannot be shown or written loses nothing and stops nothing."""

import os
import subprocess
import sys

import pytest

from tests.helpers.programs import ROOT

PROGRAM = """
import os, sys
from cml_tf.system.standard_output import endure, output_fault
endure()
print("± 羊", os.fsdecode(b"\\xff"))
print('{"mean": 1}')
fault = output_fault()
print("fault:", fault and fault.strerror, file=sys.stderr)
assert "tensorflow" not in sys.modules
"""
COMMAND = [sys.executable, "-c", PROGRAM]


def _run(command=COMMAND, stdout=subprocess.PIPE, **environment):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    given = {**plain, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=ROOT, env=given, stdout=stdout, stderr=subprocess.PIPE, check=False)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"\xb1 \u7f8a \udcff"),
        ("latin-1", b"\xb1 \\u7f8a \\udcff"),
        ("ascii:strict", rb"\xb1 \u7f8a \udcff"),
        ("utf-8", "± 羊 \\udcff".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_otherwise(encoding, shown, unbuffered):
    done = _run(PYTHONIOENCODING=encoding, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stdout.splitlines()) == (0, [shown, b'{"mean": 1}']), done.stderr
    assert done.stderr.splitlines() == [b"fault: None"]


def _shell(redirection):
    return _run(["bash", "-c", f'"$0" "$@" {redirection}', *COMMAND])


def test_a_full_disk_sends_the_output_to_the_standard_error():
    done = _shell(">/dev/full")
    assert done.returncode == 0
    assert b'{"mean": 1}' in done.stderr and b"fault: No space left on device" in done.stderr


def test_a_closed_output_is_the_standard_error():
    done = _shell(">&-")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b'{"mean": 1}' in done.stderr and b"fault: None" in done.stderr
    assert _shell(">&- 2>&-").returncode == 0


def test_a_reader_who_has_gone_stops_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = _run(stdout=pipe)
    assert (done.returncode, done.stderr) == (0, b"fault: Broken pipe\n")
