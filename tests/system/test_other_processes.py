"""After TensorFlow was used, a new process works where a forked one would hang (docs/ENVIRONMENT.md)."""

import pytest

from tests.helpers.programs import ROOT, run_python

_SCRIPT = """
import multiprocessing
import sys

import cml_tf
import tensorflow as tf


def doubled(value):
    return float(tf.linalg.matmul([[2.0]], [[value]])[0, 0])


if __name__ == "__main__":
    before = doubled(1.0)
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(before, pool.map(doubled, [2.0, 3.0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_new_processes_work_after_tensorflow_was_used(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    done = run_python(str(script), method, PYTHONPATH=str(ROOT))
    assert (done.code, done.out) == (0, "2.0 [4.0, 6.0]\n"), done.err
