"""Steps of one process and of two, measured."""

import json

import pytest

from tests.helpers.programs import run_programs


@pytest.mark.slow
@pytest.mark.long
def test_steps_of_one_process_and_of_two_are_measured_and_compared():
    flags = ["--config=configs/sinusoid.py:cml,5shot,smoke", "--steps=2", "--readings=2", "--repetitions=1"]
    (done,) = run_programs([["benchmarks.performance.weak_scaling", *flags]])
    assert done.code == 0, done.messages
    told = json.loads(done.out.splitlines()[-1])
    seconds = {name: found[0] for name, found in told["seconds_a_step"].items()}
    assert told["efficiency"] == pytest.approx(seconds["one process"] / seconds["two replicas"], abs=1e-3)
    alone = seconds["one process"] / seconds["two at once"]
    assert told["efficiency_without_exchange"] == pytest.approx(alone, abs=1e-3)
    assert min(seconds.values()) > 0
