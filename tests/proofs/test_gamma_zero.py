"""A co-learner of weight 0 is no co-learner: the same bits as MAML, in processes of their own."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a case once, however many tests look at it."""
    folder = tmp_path_factory.mktemp("gamma_zero")

    @functools.cache
    def once(learner: str, co_learner: str, *more: str) -> dict[str, np.ndarray]:
        output = folder / f"{len(list(folder.iterdir()))}.npz"
        program = [sys.executable, "-m", "tests.proofs.gamma_zero_run"]
        flags = [f"--learner={learner}", f"--co_learner={co_learner}", *more, f"--output={output}"]
        finished = subprocess.run([*program, *flags], cwd=ROOT, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-3000:]
        with np.load(output, allow_pickle=False) as arrays:
            return dict(arrays)

    return once


CASES = {
    "mlp": ("mlp", "--clip_norm=0.1"),
    "conv4": ("conv4", "--inner_steps=1"),
    # Unrolled, TensorFlow sums over several steps of such a net in an order that depends on the whole graph.
    "conv4, several steps": ("conv4", "--hypergradient=reverse_rematerialised"),
}


@pytest.mark.parametrize(
    "case",
    [
        "mlp",
        pytest.param("conv4", marks=pytest.mark.slow),
        pytest.param("conv4, several steps", marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def test_gamma_zero_is_maml_bit_for_bit(run, case):
    """Learner variables, optimiser slots and losses after several steps, phi being in graph and optimiser or not."""
    learner, *more = CASES[case]
    without, with_zero = run(learner, "absent", *more), run(learner, "weight_zero", *more)
    assert without.keys() == with_zero.keys()
    for name, expected in without.items():
        np.testing.assert_array_equal(with_zero[name], expected, err_msg=name)
    assert len({loss.tobytes() for loss in without["losses"]}) == len(without["losses"])


def test_gamma_one_is_not_maml(run):
    """Otherwise equal bits would prove nothing."""
    without, with_one = (run("mlp", co_learner, "--clip_norm=0.1") for co_learner in ("absent", "weight_one"))
    np.testing.assert_array_equal(with_one["losses"][0], without["losses"][0])
    assert np.abs(with_one["losses"][-1] - without["losses"][-1]).max() > 1e-4
