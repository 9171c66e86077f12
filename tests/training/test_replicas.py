"""How tasks are shared out, in one process: what several make of it is in tests of the proofs and the experiments."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.experiments import strategies
from cml_tf.experiments.strategies import check_cluster
from cml_tf.objectives import TaskWeights
from cml_tf.training.evaluator import Evaluator
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from cml_tf.training.replicas import Replicas
from tests.helpers.contract_tables import make_episode, make_method
from tests.helpers.few_shot import tiny_trainer
from tests.helpers.precision import precision
from tests.helpers.wave_training import waves


def of_process(first, local=2, count=6):
    """As a process among several sees them."""
    replicas = Replicas()
    replicas.first, replicas.local, replicas.count, replicas.processes = first, local, count, count // local
    return replicas


def test_processes_share_the_tasks_of_every_meta_batch_and_miss_none():
    source = waves()
    whole = source.batch(24, 12)
    for first in (0, 2, 4):
        replicas = of_process(first)
        mine = [task for task in range(12) if task % 6 in (first, first + 1)]
        parts = replicas.of_process(tf.nest.map_structure(lambda t: t.numpy(), whole))
        streamed = next(iter(replicas.batches(source, 24, 12)))
        for part in (parts, streamed):
            np.testing.assert_array_equal(part.query.inputs, whole.query.inputs.numpy()[mine])
            np.testing.assert_array_equal(part.key, whole.key.numpy()[mine])
        assert streamed.query.inputs.shape[0] == 4, "known before any is made"
    with pytest.raises(UserError, match="must be a multiple of 6 for 6 replicas, received 8 tasks"):
        of_process(0).batches(source, 0, 8)
    assert of_process(0).rounded_up(4) == 6 and of_process(0).is_chief and not of_process(2).is_chief


def state_after(tasks=6, **options):
    """With the worst point of a ball, which is found from the gradients of all tasks together."""
    method = make_method("anil_meta_sgd", "query_loss", steps=1)
    options = {"replicas": Replicas(), "clip_norm": 1.0, "sharpness": 0.1, **options}
    optimizer = keras.optimizers.Adam(0.01)
    step = MetaStep(method, dict.fromkeys(method.trained_variables(), optimizer), **options)
    results = [step(make_episode(tasks=tasks, seed=number)) for number in range(2)]
    assert step.traces == 1
    losses = [value.numpy() for one in results for value in (one.term_losses, *one.metrics.values())]
    return [*losses, *(variable.numpy() for variable in optimizer.variables)]


@pytest.fixture(scope="module")
def alone():
    """What tasks give that nobody shares."""
    with precision("float64"):
        return state_after()


@pytest.mark.slow
def test_pieces_add_up_to_the_same_step(float64, alone):
    for one, other in zip(state_after(accumulate=2), alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def test_what_cannot_be_shared_or_pieced_is_refused_before_any_work():
    method = make_method()
    compared = Method.of(method.learner, method.rule, method.terms, TaskWeights())
    optimizers = dict.fromkeys(method.trained_variables(), keras.optimizers.SGD())
    with pytest.raises(UserError, match="accumulate must be 1 with TaskWeights, which compares all tasks"):
        MetaStep(compared, optimizers, accumulate=2)
    with pytest.raises(UserError, match=r"multiple of 4 for 1 replica and train.accumulate 4, received 2 tasks"):
        MetaStep(method, optimizers, accumulate=4)(make_episode(tasks=2))
    mirrored = Replicas(tf.distribute.MirroredStrategy(["CPU:0"]))
    with pytest.raises(UserError, match="jit_compile must be False"):
        MetaStep(method, optimizers, jit_compile=True, replicas=mirrored)
    with pytest.raises(UserError, match="received OneDeviceStrategy"):
        Replicas(tf.distribute.OneDeviceStrategy("CPU:0"))


@pytest.mark.slow
def test_one_replica_of_a_strategy_gives_what_none_gives(float64, alone):
    mirrored = Replicas(tf.distribute.MirroredStrategy(["CPU:0"]))
    assert (mirrored.count, mirrored.local, mirrored.processes, mirrored.is_chief) == (1, 1, 1, True)
    for one, other in zip(state_after(replicas=mirrored), alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)
    trainer = tiny_trainer()
    scores = [Evaluator(trainer.method, "mse", replicas).evaluate(waves(), 5, 0) for replicas in (mirrored, Replicas())]
    np.testing.assert_allclose(scores[0].scores, scores[1].scores, rtol=1e-12)


WORKERS = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": %s}}'


@pytest.mark.parametrize("text", ["", "{}", "[", "3", WORKERS % 2, WORKERS % -1, (WORKERS % 0).replace("worker", "ps")])
def test_a_cluster_that_is_not_described_is_refused(text):
    check_cluster(WORKERS % 1)
    with pytest.raises(UserError, match="TF_CONFIG must be JSON such as"):
        check_cluster(text)


def test_the_first_process_of_a_container_is_refused(monkeypatch):
    """No signal would end its wait for others."""
    chosen = {"_STRATEGY": "multi_worker", "_CPU_DEVICES": 1, "_WORKER_WAIT": 600}
    for name, value in chosen.items():
        monkeypatch.setattr(strategies, name, SimpleNamespace(value=value, present=0))
    monkeypatch.setenv("TF_CONFIG", WORKERS % 0)
    monkeypatch.setattr(strategies.os, "getpid", lambda: 1)
    with pytest.raises(UserError, match="must not be process 1 of its container: set shareProcessNamespace"):
        strategies.chosen_replicas().__enter__()
