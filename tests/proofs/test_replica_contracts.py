"""Every member trains on replicas as on one device: 20 steps in float64, within 1e-10."""

from __future__ import annotations

import pytest

from tests.helpers.clusters import run_cluster

PROGRAM = "tests.helpers.replica_contracts"
# Small graphs that cover what may go wrong: context and state of the learner, variables of the rule, random numbers by
# task, a reducer that compares tasks.
FEW = ["sgc", "per_step_rates", "query_mixup", "task_weights", "hypernetwork"]
LONG = [pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize(
    ("processes", "devices", "members"),
    [
        pytest.param(1, 2, FEW, marks=pytest.mark.slow, id="few members, two devices"),
        pytest.param(2, 1, FEW[:4], marks=pytest.mark.slow, id="few members, two processes"),
        pytest.param(1, 4, [], marks=LONG, id="all members, four devices"),
        pytest.param(2, 1, [], marks=LONG, id="all members, two processes"),
        pytest.param(3, 1, [], marks=LONG, id="all members, three processes"),
    ],
)
def test_replicas_take_the_steps_of_one_device(tmp_path, processes, devices, members):
    done = run_cluster(tmp_path, *[[PROGRAM, str(devices), *members]] * processes, bound=3600)
    for one in done:
        told = one.out.splitlines()
        assert one.code == 0, [*(line for line in told if not line.startswith("equal")), *one.messages]
        assert len(told) >= (len(members) or 30)
