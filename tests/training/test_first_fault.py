"""What a failed step says: the step, the task, and what was not finite first."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.problems import Classification
from cml_tf.registry import members
from cml_tf.training.first_fault import first_fault
from cml_tf.training.meta_step import NonFiniteLoss
from cml_tf.training.schedule import Schedule
from tests.helpers.few_shot import tiny_trainer
from tests.helpers.members import choice_with, contract_case
from tests.helpers.wave_training import InfiniteGradient, meta_batches, waves

two_batches = functools.cache(lambda: meta_batches(2))


def message(trainer, episode):
    """What is said of the second step, on an episode that no boundary has looked at."""
    good = two_batches()[0]
    trainer.step = 0
    trainer._one_step(iter([good]))
    with pytest.raises(NonFiniteLoss) as caught:
        trainer._one_step(iter([episode]))
    told = str(caught.value)
    assert told.startswith("step 1 has ") and "\n" not in told
    return told.partition("Not finite first: ")[2]


def spoilt(part, field, task, value, count=1):
    """The second meta-batch with other values in the first examples of a task."""
    episode = two_batches()[1]
    array = getattr(getattr(episode, part), field).numpy()
    array[task, :count] = value
    return episode._replace(**{part: getattr(episode, part)._replace(**{field: tf.constant(array)})})


@pytest.fixture(scope="module")
def trainer():
    return tiny_trainer()


@pytest.mark.parametrize(
    ("part", "field", "task", "value", "said"),
    [
        ("support", "inputs", 1, np.nan, "2 values of support.inputs of task 1. Remove"),
        ("support", "targets", 0, np.inf, "2 values of support.targets of task 0. Remove"),
        ("query", "inputs", 2, -np.inf, "2 values of query.inputs of task 2. Remove"),
        ("query", "targets", 3, np.nan, "2 values of query.targets of task 3. Remove"),
        ("support", "targets", 1, 3e19, "the support loss of task 1, inf before adaptation. Lower the inner rate"),
        ("support", "targets", 1, 1e18, "the support loss of task 1, .* after inner step 1. Lower the inner rate"),
        ("query", "targets", 3, 3e19, "the query loss of task 3, inf in the term 'query_loss'. Lower the inner or"),
    ],
)
def test_the_first_thing_that_is_not_finite_is_told_with_its_task(trainer, part, field, task, value, said):
    assert re.search(said, message(trainer, spoilt(part, field, task, value, 2)))


def test_an_exploding_outer_rate_is_told_by_the_variable_or_the_loss():
    trainer = tiny_trainer(optimizer=keras.optimizers.SGD(1e30))
    with pytest.raises(NonFiniteLoss, match="Not finite first: (the support loss of task 0, .* before|the variable)"):
        trainer.fit(waves(), 3, verbose=0)


def test_a_variable_and_a_gradient_are_told_by_name():
    trainer = tiny_trainer()
    variable = trainer.method.trained_variables()["learner"][0]
    with pytest.raises(NonFiniteLoss, match=f"first: the variable {variable.path} of learner, before the step"):
        variable.assign(variable * np.nan)
        trainer.fit(waves(), 1, verbose=0)
    with pytest.raises(NonFiniteLoss, match="first: the gradient of .* of learner of task 0, "):
        tiny_trainer(reducer=InfiniteGradient()).fit(waves(), 1, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "name"), [(axis, name) for axis in ("rule", "update", "hypergradient") for name in members(axis)]
)
def test_whatever_adapts_a_sound_step_has_no_fault_and_a_spoilt_one_is_told(axis, name):
    method, episode = contract_case(choice_with(axis, name))
    moment = Schedule()(0, method.terms, method.schedules)

    def told(episode):
        return first_fault(method, Classification(3), episode, moment)

    assert told(episode).startswith("nothing, when the step was made again. ")
    inputs = episode.query.inputs.numpy()
    inputs[1] = np.nan
    spoilt = episode._replace(query=episode.query._replace(inputs=tf.constant(inputs)))
    assert told(spoilt) == f"{inputs[1].size} values of query.inputs of task 1. Remove or replace these values"
    group, (variable, *_) = next(iter(method.trained_variables().items()))
    variable.assign(variable * np.nan)
    assert told(episode).startswith(f"the variable {variable.path} of {group}, before the step. Go back")
