"""From runs to rows: here the runs have their first weights, and the same numbers are worked out task by task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.experiments import presets
from cml_tf.experiments.experiment import build_experiment
from cml_tf.studies.analyses.figures import (
    gradient_cosine,
    gradient_cosine_fault,
    gradient_norm,
    linear_cka_of_adaptation,
)
from cml_tf.studies.analyses.runs import Run
from cml_tf.training.evaluator import confidence_interval
from cml_tf.training.meta_step import meta_gradient
from tests.helpers.models import randomise
from tests.helpers.random_graphs import random_features, untidy_edges
from tests.helpers.seeded_episodes import tasks_of
from tests.helpers.small_configs import changed, waves

EPISODES = 3


def run_of(config, name="run") -> Run:
    run = Run(name, Path(name), build_experiment(config), "#000000")
    for variables in run.method.trained_variables().values():
        randomise(variables, 0)
    return run


def check(row, run, layer, values, tolerance=1e-4):
    assert (row["run"], row["layer"], row["episodes"]) == (run.name, layer, EPISODES)
    assert row["mean"] == pytest.approx(np.mean(values), rel=tolerance, abs=1e-6)
    assert row["ci95"] == pytest.approx(confidence_interval(np.array(values)), rel=10 * tolerance, abs=1e-5)


def tasks(run):
    """Support and query arrays of the fixed episodes."""
    support, query, _ = run.experiment.episodes("test").batch(0, EPISODES)
    return [[np.asarray(part[i], np.float64) for part in (*support, *query)] for i in range(EPISODES)]


def mlp(parameters, inputs):
    kernel, bias, head, head_bias = (np.asarray(part, np.float64) for part in parameters)
    hidden = np.maximum(inputs @ kernel + bias, 0)
    return hidden, hidden @ head + head_bias


def gradient(parameters, inputs, targets):
    """Of the squared error of a 1-4-1 perceptron, by hand."""
    hidden, outputs = mlp(parameters, inputs)
    upstream = 2 * (outputs - targets) / targets.size
    below = (upstream @ np.asarray(parameters[2], np.float64).T) * (hidden > 0)
    return [inputs.T @ below, below.sum(0), hidden.T @ upstream, upstream.sum(0)]


def test_norms_and_alignments_of_regression_by_hand():
    run = run_of(waves(**{"adaptation.rate": 0.1}))
    start = [np.asarray(variable) for variable in run.method.trained_variables()["learner"]]
    norms, hidden_pairs = {"before": [], "after": []}, []
    for support, targets, inputs, truth in tasks(run):
        moved = [value - 0.1 * slope for value, slope in zip(start, gradient(start, support, targets), strict=True)]
        for place, parameters in (("before", start), ("after", moved)):
            own = gradient(parameters, inputs, truth)[:2]
            norms[place].append(np.sqrt(sum(np.sum(part**2) for part in own)))
        hidden_pairs.append([mlp(parameters, inputs)[0] for parameters in (start, moved)])
    made = gradient_norm([run], EPISODES)
    assert [(row["place"], row["layer"]) for row in made.rows] == [
        (place, layer) for place in ("before", "after") for layer in ("dense 1", "all layers")
    ]
    for row in made.rows:
        check(row, run, row["layer"], norms[row["place"]])

    def alignment(left, right):
        left, right = left - left.mean(0), right - right.mean(0)
        parts = right.T @ left, left.T @ left, right.T @ right
        cross, one, other = (np.linalg.norm(part) for part in parts)
        return cross**2 / (one * other)

    first, head = linear_cka_of_adaptation([run], EPISODES).rows
    check(first, run, "dense 1", [alignment(*pair) for pair in hidden_pairs])
    assert head["layer"] == "head" and 0 <= head["mean"] <= 1 + 1e-9
    assert first["mean"] < 1


@pytest.mark.parametrize("co_learner", ["cooperative", "adapted"])
def test_the_two_gradients_are_those_of_the_two_losses(co_learner):
    run = run_of(waves(**{"objective.co_learner": co_learner, "adaptation.rate": 0.1}), "CL")
    batch = run.experiment.episodes("test").batch(0, EPISODES)
    assert [term.name for term in run.method.terms][0] == "query_loss" and len(run.method.terms) == 2
    cosines = []
    for number in range(EPISODES):
        # Each loss alone, as the meta-step takes its gradient.
        task = tasks_of(batch, [number])
        own, co = (
            meta_gradient(run.method, task, tf.constant(w)).gradients["learner"] for w in ([1.0, 0.0], [0.0, 1.0])
        )
        one, other = (np.concatenate([np.ravel(part) for part in gradients[:2]]) for gradients in (own, co))
        cosines.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    first, everything = gradient_cosine([run], EPISODES).rows
    check(first, run, "dense 1", cosines, 1e-3)
    # One layer: all layers are this layer.
    check(everything, run, "all layers", cosines, 1e-3)
    assert first["positive_share"] == pytest.approx(np.mean(np.array(cosines) > 0))
    assert np.ptp(cosines) > 0.01


def test_faults_say_why():
    none = run_of(waves(**{"objective.co_learner": "none"}))
    reptile = run_of(waves(**{"objective.outer": "reptile", "hypergradient": "first_order"}))
    assert gradient_cosine_fault(none) == "it has no co-learner"
    assert "Reptile's outer step is no gradient" in gradient_cosine_fault(reptile)
    for co_learner in ("cooperative", "random_noise", "adapted"):
        assert gradient_cosine_fault(run_of(waves(**{"objective.co_learner": co_learner}))) == ""


@pytest.mark.slow
def test_nodes_have_a_row_a_graph_convolution(tmp_path):
    arrays = {"features": random_features(60, 7, 0), "edges": untidy_edges(60, 120, 0), "labels": np.arange(60) % 6}
    np.savez(tmp_path / "graph.npz", **arrays)
    own = {"dataset.name": "graph", "dataset.root": str(tmp_path), "dataset.classes": (2, 2, 2)}
    own |= {"adaptation.steps": 1, "adaptation.eval_steps": 1, "learner.hidden": (4, 3)}
    run = run_of(changed(presets.nodes("cora", "smoke"), **own))
    layers = ["graph convolution 1", "graph convolution 2"]
    assert [row["layer"] for row in gradient_cosine([run], EPISODES).rows] == [*layers, "all layers"]
    aligned = linear_cka_of_adaptation([run], EPISODES).rows
    assert [row["layer"] for row in aligned] == [*layers, "head"]
    assert all(0 <= row["mean"] <= 1 + 1e-6 for row in aligned)
