"""Programs that a notebook starts, where the notebook's drawing backend does not exist."""

import pytest

from tests.helpers.programs import run_python

_BACKEND = "module://not_there.backend"
_PROGRAM = """
import os
import {module}
import matplotlib
print(os.environ["MPLBACKEND"])
"""


@pytest.mark.parametrize("module", ["cml_tf.datasets", "cml_tf.studies.pictures"])
def test_a_backend_that_is_not_there_is_passed_over(module):
    done = run_python("-c", _PROGRAM.format(module=module), MPLBACKEND=_BACKEND)
    assert (done.code, done.out) == (0, f"{_BACKEND}\n"), done.err
