"""When a training pauses; the clock is the test's own. That it loses nothing is told by test_durability.py."""

from __future__ import annotations

from cml_tf.experiments.callbacks import PauseAt


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
