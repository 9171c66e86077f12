"""A training that pauses at a time loses nothing; the clock is the test's own."""

from __future__ import annotations

import numpy as np

from cml_tf.experiments.callbacks import PauseAt
from cml_tf.experiments.runs import train_run
from tests.helpers.run_folders import checkpoint, metrics_lines
from tests.helpers.small_configs import waves


class Clock:
    """Every look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Model:
    stop_training = False


def epoch(pause: PauseAt, steps: int, number: int = 0) -> list[bool]:
    """Whether training was to stop after each step of an epoch, which has no validation."""
    model = Model()
    pause.set_model(model)
    pause.set_params({"steps": steps})
    pause.on_epoch_begin(number)
    asked = []
    for step in range(steps):
        pause.on_train_batch_end(step)
        asked.append(model.stop_training)
    return asked


def test_it_stops_after_the_step_at_which_the_time_has_come():
    assert epoch(PauseAt(3.0, clock=Clock()), 3) == [False, True, True]
    assert epoch(PauseAt(clock=Clock()), 3) == [False] * 3, "no deadline, no pause"


def test_it_stops_after_an_epoch_when_another_would_end_too_late():
    # Looks at the clock: 1 at the beginning, then 2, 3, 4. Another epoch of three steps would end at 7.
    assert epoch(PauseAt(6.5, clock=Clock()), 3) == [False, False, True]
    assert epoch(PauseAt(7.0, clock=Clock()), 3) == [False, False, False]


def test_it_counts_the_validations_to_come():
    pause = PauseAt(20.0, clock=Clock())
    assert epoch(pause, 3) == [False, False, False]
    pause.on_test_begin()
    pause._clock.now += 4
    pause.on_test_end()
    # The second epoch ends at 13. With the validations after it and after a third one: 13 + 5 + 3 + 5.
    pause._clock.now = 9.0
    assert epoch(pause, 3, 1) == [False, False, True]


def test_it_stops_when_it_is_asked_and_takes_another_deadline():
    assert epoch(PauseAt(asked=lambda: True, clock=Clock()), 2) == [True, True]
    pause = PauseAt(clock=Clock())
    pause.pause_at(0.0)
    assert epoch(pause, 2) == [True, True]


def test_paused_and_resumed_equals_uninterrupted(finished, tmp_path):
    experiment = train_run(waves(), tmp_path, 0, [PauseAt(0.0, clock=Clock())])
    assert experiment.trainer.step == 1 == checkpoint(tmp_path, "latest")[1]["step"]
    assert not experiment.trainer.stopped
    train_run(waves(), tmp_path, verbose=0)
    assert len(metrics_lines(tmp_path)) == 4
    values, others = (checkpoint(path, "latest")[0] for path in (finished, tmp_path))
    for name, value in values.items():
        # Two builds in one process need not agree in the last bit; docs/RUNS.md.
        np.testing.assert_allclose(value, others[name], rtol=1e-5, atol=1e-7, err_msg=name)
