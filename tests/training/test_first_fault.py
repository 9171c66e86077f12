"""What a failed step says: the step, the task, and what was not finite first."""

import functools
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation.rule import Scheduled
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss, TermLoss
from cml_tf.problems import Classification, Regression
from cml_tf.registry import members
from cml_tf.training.first_fault import first_fault
from cml_tf.training.meta_step import NonFiniteLoss
from cml_tf.training.replicas import Replicas
from cml_tf.training.schedule import Schedule
from cml_tf.training.trainer import Trainer
from tests.helpers.few_shot import tiny_trainer, variable_values
from tests.helpers.members import choice_with, contract_case
from tests.helpers.toy_rules import RidgeRegression
from tests.helpers.wave_training import InfiniteGradient, assert_same_values, meta_batches, waves

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


def test_a_process_numbers_its_tasks_as_the_meta_batch_does(trainer):
    """Two of six replicas are this process': its tasks are 2, 3, 8 and 9 of twelve."""
    replicas = Replicas()
    replicas.first, replicas.local, replicas.count, replicas.processes = 2, 2, 6, 3
    moment = Schedule()(0, trainer.method.terms)
    for episode, said in (
        (spoilt("query", "inputs", 2, np.nan), "1 values of query.inputs of task 8. Remove"),
        (spoilt("support", "targets", 1, 3e19), "the support loss of task 3, inf before"),
        (spoilt("query", "targets", 3, 3e19), "the query loss of task 9, inf in"),
        (two_batches()[1], "nothing of the tasks of this process; the others say what it is of theirs, when"),
    ):
        assert first_fault(trainer.method, trainer.problem, episode, moment, replicas).startswith(said)


class Fading(QueryLoss):
    """Times a number that begins so large that no loss is finite."""

    schedules = {"factor": Scheduled(lambda step: 1.0 if step else np.inf, final=1.0)}

    def __call__(self, outcome, values):
        result = super().__call__(outcome, values)
        return result._replace(loss=result.loss * outcome.initial.scalars["factor"])


class Unreported(QueryLoss):
    """Never finite; counts from the second step on."""

    reported = False

    def __call__(self, outcome, values):
        return TermLoss(super().__call__(outcome, values).loss * np.nan, {})


FIRST_STEPS = {
    "scheduled": (
        lambda problem: [Fading(problem)],
        ("the query loss of task 0, inf in the term 'query_loss'", "nothing, "),
    ),
    "left out": (
        lambda problem: [QueryLoss(problem), Unreported(problem, name="unreported", weight=float)],
        ("nothing, ", "the query loss of task 0, nan in the term 'unreported'"),
    ),
}


@pytest.mark.parametrize(("make", "expected"), FIRST_STEPS.values(), ids=FIRST_STEPS)
def test_the_diagnosis_is_of_the_step_s_own_moment(trainer, make, expected):
    method = replace(trainer.method, terms=tuple(make(trainer.problem)))
    for step, said in enumerate(expected):
        moment = Schedule()(step, method.terms, method.schedules)
        assert first_fault(method, trainer.problem, two_batches()[0], moment).startswith(said)


def test_an_exploding_outer_rate_is_told_by_the_variable_or_the_loss():
    trainer = tiny_trainer(optimizer=keras.optimizers.SGD(1e30))
    with pytest.raises(NonFiniteLoss, match="Not finite first: (the support loss of task 0, .* before|the variable)"):
        trainer.fit(waves(), 3, verbose=0)


def test_a_variable_is_told_by_name():
    trainer = tiny_trainer()
    variable = trainer.method.trained_variables()["learner"][0]
    with pytest.raises(NonFiniteLoss, match=f"first: the variable {variable.path} of learner, before the step"):
        variable.assign(variable * np.nan)
        trainer.fit(waves(), 1, verbose=0)


def test_a_gradient_that_is_not_finite_is_told_by_name_and_changes_nothing():
    trainer = tiny_trainer(reducer=InfiniteGradient())
    before = variable_values(trainer)
    said = (
        "step 0 has a gradient whose norm is not finite, .* in episodes 0 to 3.* first: the gradient of .* of task 0, "
    )
    with pytest.raises(NonFiniteLoss, match=said):
        trainer.fit(waves(), 1, verbose=0)
    assert_same_values(variable_values(trainer), before)


@pytest.mark.parametrize("clip_norm", [0.0, 10.0])
def test_a_gradient_too_long_to_be_squared_can_be_clipped_and_is_told_where_it_is_not(clip_norm):
    """Its weight makes the loss 1e26, which is finite; the squares of such a gradient are not."""
    trainer = tiny_trainer(optimizer=keras.optimizers.SGD(0.01), clip_norm=clip_norm)
    trainer.method.terms[0].weight = 1e26
    before = variable_values(trainer)
    if clip_norm:
        trainer.fit(waves(), 1, verbose=0)
        after, learned = variable_values(trainer), len(trainer.method.trained_variables()["learner"])
        moved = [after[name] - before[name] for name in before if name.startswith("learner")]
        assert len(moved) == learned
        np.testing.assert_allclose(np.sqrt(sum(np.sum(np.square(way)) for way in moved)), 0.01 * clip_norm, rtol=1e-4)
        return
    said = (
        r"whose norm is not finite, .* first: the squared gradient of learner of task 0, which is \d\.?\d*e\+2\d long"
    )
    with pytest.raises(NonFiniteLoss, match=said):
        trainer.fit(waves(), 1, verbose=0)
    assert_same_values(variable_values(trainer), before)


class Edge(QueryLoss):
    """Finite with a finite gradient at the variables, and neither beyond."""

    def __call__(self, outcome, values):
        result = super().__call__(outcome, values)
        (first, *_) = outcome.initial.parameters.extractor
        beyond = tf.reduce_max(tf.abs(first - self.start)) > 1e-6
        return result._replace(loss=result.loss * tf.where(beyond, np.float32(np.inf), 1.0))


def test_the_worst_point_near_by_is_looked_at_where_a_step_goes_there():
    like, term = tiny_trainer(), Edge(Regression(1))
    trainer = Trainer(like.method.learner, like.method.rule, [term], Regression(1), sharpness=0.05)
    term.start = trainer.method.learner.variables.extractor[0].numpy()
    said = "first: the gradient of .* of learner of task 0, at the worst point within 0.05, .* Lower train.sharpness"
    with pytest.raises(NonFiniteLoss, match=said):
        trainer.fit(waves(), 1, verbose=0)


def test_a_rule_that_does_not_answer_through_the_head_is_asked_after_adaptation():
    """The learner alone gives four features, where a task gives one number."""
    learner = Learner(keras.layers.Dense(4), keras.layers.Identity(), input_shape=(1,))
    trainer = Trainer(learner, RidgeRegression(), [QueryLoss(Regression(1))], Regression(1))
    said = message(trainer, spoilt("support", "targets", 1, 1e25, 2))
    assert said.startswith("the support loss of task 1, inf after adaptation. Lower the inner rate")


# Every rule; update rules that put parameters elsewhere or count steps; no path, and a flow.
ADAPTING = [*(("rule", name) for name in members("rule")), ("update", "context_scaling"), ("update", "per_step_rates")]
ADAPTING += [("hypergradient", "implicit"), ("hypergradient", "adjoint_heun")]


@pytest.mark.slow
@pytest.mark.parametrize(("axis", "name"), ADAPTING)
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
