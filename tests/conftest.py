"""Fixtures that several test directories use."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# TensorFlow's native log tells a machine without a GPU several times that it has none; errors reach Python anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Workers share the cores: threads of scikit-learn would wait for each other by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE
from cml_tf.system.machine import leave_out_broken_amx
from tests.helpers.precision import precision

# Workers and all that tests start inherit what is found, so they need not try again, which takes seconds.
if "PYTEST_XDIST_WORKER" not in os.environ:
    leave_out_broken_amx()

# Files begin in this order, then all others: so that at the end no worker is left alone with much to do. Workers are
# given whole files, the largest numbers of tests first unless `--no-loadscope-reorder` is given, and the costliest have
# few.
FIRST = (
    *("experiments/test_members.py", "export/test_members.py", "export/quickstart/test_quickstart.py"),
    *("documents/test_examples.py", "benchmarks/performance/test_systems.py", "test_packaging.py"),
    *("export/test_exporter.py", "export/server/test_conformance.py", "proofs/test_member_contracts.py"),
    *("adaptation/test_meta_gradients.py", "programs/test_programs.py", "system/test_settings.py"),
    *("learners/test_pretrained.py", "proofs/test_learning.py", "experiments/test_runs.py"),
)


def pytest_collection_modifyitems(items):
    tests = Path(__file__).parent
    order = {tests / name: place for place, name in enumerate(FIRST)}
    assert all(path.is_file() for path in order), "FIRST in tests/conftest.py names a file that is not there"
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_collection_finish():
    """What is imported by now stays; tracing makes many objects, and each collection would look at all of it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """The tests, and the programs they start, neither see nor fill the user's cache; glyphs are drawn once."""
    directory = tmp_path_factory.getbasetemp()
    # A worker's directory is inside the one of the whole run.
    shared = directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT_VARIABLE, str(shared / "cache"))
        yield


@pytest.fixture(autouse=True)
def _precision_restored():
    """No test hands its dtype policy on to the next one."""
    with precision():
        yield


@pytest.fixture
def float64():
    """Keras works in float64, and is put back afterwards."""
    with precision("float64"):
        yield
