"""A co-learner of weight 0 is no co-learner: the same bits as MAML, in processes of their own."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.programs import run_programs

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
def test_gamma_zero_is_maml_bit_for_bit(tmp_path, case):
    """Learner variables, optimiser slots and losses after several steps, phi being in graph and optimiser or not."""
    learner, *more = CASES[case]
    kinds = ["absent", "weight_zero", *(["weight_one"] if case == "mlp" else [])]
    flags = [[f"--learner={learner}", f"--co_learner={kind}", f"--output={tmp_path}/{kind}.npz"] for kind in kinds]
    for finished in run_programs([["tests.proofs.gamma_zero_run", *own, *more] for own in flags]):
        assert finished.code == 0, finished.err[-3000:]
    without, with_zero, *with_one = (dict(np.load(tmp_path / f"{kind}.npz", allow_pickle=False)) for kind in kinds)
    assert without.keys() == with_zero.keys()
    for name, expected in without.items():
        np.testing.assert_array_equal(with_zero[name], expected, err_msg=name)
    assert len({loss.tobytes() for loss in without["losses"]}) == len(without["losses"])
    for other in with_one:
        # Otherwise equal bits would prove nothing.
        np.testing.assert_array_equal(other["losses"][0], without["losses"][0])
        assert np.abs(other["losses"][-1] - without["losses"][-1]).max() > 1e-4
