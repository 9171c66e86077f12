"""What a benchmark builds, counts and compares."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.graph_operations import graph_operations
from benchmarks.performance.building import build_episode, build_method
from benchmarks.performance.equality import UnequalError, largest_difference
from benchmarks.performance.first_step import groups
from benchmarks.performance.floating_point import convolution_operations, step_operations
from benchmarks.performance.resident import resident
from benchmarks.performance.work import SINE_WAVES, Work, from_json, to_json
from cml_tf.episodes import Episode
from cml_tf.experiments import presets

TINY = Work(size=16, channels=3, filters=4, tasks=1, ways=2, shots=1, queries=2, plain=True)


@pytest.mark.parametrize("steps", [1, 2])
def test_operations_are_those_of_the_graph(steps):
    work = replace(TINY, steps=steps)
    method, episode = build_method(work), build_episode(work)
    task = Episode(*tf.nest.map_structure(lambda tensor: tensor[0], (episode.support, episode.query)))
    values = [v.value for variables in method.trained_variables().values() for v in variables]

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            losses = method.losses(method.rule.initial(method.learner), method.term_values(), task)
            loss = tf.add_n([term.loss for term in losses])
        return tape.gradient(loss, values)

    # What is called has its dead branches left out: the gradient by the images is traced, but never runs.
    called = tf.function(gradients, autograph=False).get_concrete_function()
    assert step_operations(work) == graph_operations(called).convolutions


def test_operations_grow_with_tasks_and_are_known_for_convolutions_only():
    assert convolution_operations(2, 3, 5, 7) == 2 * 9 * 2 * 3 * 5 * 7
    assert step_operations(replace(TINY, tasks=3)) == 3 * step_operations(TINY)
    with pytest.raises(ValueError, match="received 'mlp'"):
        step_operations(SINE_WAVES)


def test_a_work_survives_being_sent():
    assert from_json(to_json(SINE_WAVES)) == SINE_WAVES


def test_differences_are_relative_to_a_tensors_own_largest_entry():
    ours = {"loss": np.float32(2.0), "kernel": np.array([1.0, 0.5]), "small": np.array([1e-3])}
    theirs = {**ours, "small": np.array([1.1e-3])}
    assert largest_difference(ours, theirs) == ("small", pytest.approx(0.1))
    ours = {**ours, "small": np.array([0.0])}
    found = largest_difference(ours, {**ours, "small": np.array([1e-6])})
    assert found == ("small", pytest.approx(1e-6)), "rounding in place of 0 is no difference"


@pytest.mark.parametrize("theirs", [{}, {"kernel": np.ones(3)}, {"kernel": np.full(2, np.nan)}])
def test_what_cannot_be_compared_is_unequal(theirs):
    with pytest.raises(UnequalError):
        largest_difference({"loss": np.float32(1), "kernel": np.ones(2)}, {"loss": np.float32(1), **theirs})


def test_configurations_of_one_graph_are_measured_once():
    made = {
        "glyphs": presets.images("glyphs", "1shot"),
        "omniglot": presets.images("omniglot", "5shot"),
        "maml": presets.images("glyphs", "maml,5shot"),
        "mini_imagenet": presets.images("mini_imagenet", "5shot"),
        "cub": presets.images("cub", "1shot"),
        "cifar_fs": presets.images("cifar_fs"),
        "waves": presets.sinusoid("5shot"),
        "cora": presets.nodes("cora", "5shot"),
        "citeseer": presets.nodes("citeseer", "5shot"),
        "again": presets.nodes("cora", "5shot"),
        "meta_gnn": presets.nodes("cora", "5shot,meta_gnn"),
    }
    expected = [["omniglot", "glyphs"], ["maml"], ["mini_imagenet", "cub"], ["cifar_fs"], ["waves"]]
    expected += [["cora", "again"], ["citeseer"], ["meta_gnn"]]
    assert groups(made.items()) == expected, "the largest episodes first"


def test_resident_memory_is_in_mebibytes():
    assert resident("Name:\tx\nVmHWM:\t  4096 kB\nVmRSS:\t  1024 kB\n") == {"now": 1.0, "peak": 4.0}
    own = resident()
    assert 0 < own["now"] <= own["peak"]
