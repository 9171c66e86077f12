"""Programs that a notebook starts, where the notebook's drawing backend does not exist."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.programs import ROOT, environment

_PROGRAM = """
import os
import {module}
import matplotlib
assert os.environ["MPLBACKEND"] == "module://not_there.backend"
print("imported", matplotlib.__version__)
"""


@pytest.mark.parametrize("module", ["cml_tf.datasets", "cml_tf.studies.pictures"])
def test_a_backend_that_is_not_there_is_passed_over(module):
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(module=module)],
        cwd=ROOT,
        env={**environment(), "MPLBACKEND": "module://not_there.backend"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("imported")
