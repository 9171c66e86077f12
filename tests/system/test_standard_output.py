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
DONE = "from cml_tf.system.command_line import run; run(lambda _: print('done'))"


def run(program, redirection="", **more):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = ["bash", "-c", f'set -o pipefail; "$0" "$@" {redirection}', sys.executable, "-c", program]
    given = {**plain, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("encoding", "unbuffered", "shown"),
    [
        ("ascii", "", rb"\xb1 \u7f8a \udcff"),
        ("latin-1", "1", b"\xb1 \\u7f8a \\udcff"),
        ("ascii:strict", "1", rb"\xb1 \u7f8a \udcff"),
        ("utf-8", "", "± 羊 \\udcff".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_otherwise(encoding, unbuffered, shown):
    done = run(PROGRAM, PYTHONIOENCODING=encoding, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stdout.splitlines()) == (0, [shown, b'{"mean": 1}']), done.stderr
    assert done.stderr.splitlines() == [b"fault: None"]


@pytest.mark.parametrize(
    ("redirection", "told"),
    [(">/dev/full", b"fault: No space left on device"), (">&-", b"fault: None"), ("| true", b"fault: Broken pipe")],
)
def test_a_full_closed_or_broken_output_stops_nothing(redirection, told):
    done = run(PROGRAM, redirection)
    assert done.returncode == 0 and done.stdout == b"" and told in done.stderr
    assert b'{"mean": 1}' in done.stderr or redirection == "| true", "what was to be shown is on the standard error"


@pytest.mark.parametrize(("redirection", "cause"), [(">/dev/full", b"No space left"), ("| true", b"Broken pipe")])
def test_a_program_whose_output_was_lost_says_so_in_one_line(redirection, cause):
    done = run(DONE, redirection)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith(b"error:"))
    assert cause in line
