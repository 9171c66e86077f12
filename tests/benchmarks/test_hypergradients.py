"""The benchmark of hypergradients measures each, and draws what it measured."""

import pytest

from benchmarks.hypergradients import ADJOINTS, LEAST, SOLVERS, draw, measured
from cml_tf.bilevel import make_solver
from tests.helpers.programs import run_programs


@pytest.mark.slow
@pytest.mark.parametrize(("net", "name"), [("convolutional", "descent aggregation"), ("perceptron", LEAST)])
def test_each_number_of_steps_has_its_costs(net, name):
    found = measured(net, name, [1, 2], 1)
    assert set(found) == {"1", "2"}
    assert all(costs["milliseconds"] > 0 and costs["MiB"] >= 0 for costs in found.values())


@pytest.mark.parametrize("solvers", [SOLVERS, ADJOINTS], ids=["convolutional", "perceptron"])
def test_all_can_be_made_and_are_drawn(tmp_path, solvers):
    assert all(make_solver(solver, **options) for solver, options in solvers.values())
    costs = {str(count): {"milliseconds": 10.0 * count, "MiB": 5.0} for count in (1, 10)}
    draw(dict.fromkeys(solvers, costs), tmp_path / "costs.png")
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_of_steps_must_ascend():
    (done,) = run_programs([["benchmarks.hypergradients", "--steps=5,2"]])
    assert done.code == 2 and done.messages == ["error: --steps must ascend from 1 or more, received 5,2."]
