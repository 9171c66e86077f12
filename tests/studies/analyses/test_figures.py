"""From runs to rows: here the runs have their first weights, and the same numbers are worked out task by task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.experiments import presets
from cml_tf.experiments.experiment import build_experiment
from cml_tf.studies.analyses import figures
from cml_tf.studies.analyses.figures import (
    ANALYSES,
    first_inner_gradient,
    first_inner_gradient_fault,
    gradient_cosine,
    gradient_cosine_fault,
    gradient_norm,
    linear_cka_of_adaptation,
    path_fault,
)
from cml_tf.studies.analyses.gradients import query_gradient
from cml_tf.studies.analyses.representations import linear_cka, representations
from cml_tf.studies.analyses.runs import Run
from cml_tf.training.evaluator import confidence_interval
from cml_tf.training.meta_gradient import meta_gradient
from tests.helpers.models import randomise
from tests.helpers.seeded_episodes import one_task, tasks_of
from tests.helpers.small_configs import waves

EPISODES = 2


def run_of(config, name="run") -> Run:
    run = Run(name, Path(name), build_experiment(config), "#000000")
    for variables in run.method.trained_variables().values():
        randomise(variables, 0)
    return run


def check(row, run, layer, values, tolerance=1e-4):
    assert (row["run"], row["layer"], row["episodes"]) == (run.name, layer, EPISODES)
    assert row["mean"] == pytest.approx(np.mean(values), rel=tolerance, abs=1e-6)
    assert row["ci95"] == pytest.approx(confidence_interval(np.array(values)), rel=10 * tolerance, abs=1e-5)


def paths(run):
    """Of each fixed episode: the parameters before and after adaptation, and the query set."""
    batch, rule = run.experiment.episodes("test").batch(0, EPISODES), run.method.rule
    for number in range(EPISODES):
        task = one_task(batch, number)
        path = rule.adapt(run.method.learner, rule.initial(run.method.learner), task.support, ()).path
        yield path[0], path[-1], task.query


def test_norms_and_alignments_are_those_of_each_task():
    """Gradients, representations and alignment are proven in the tests of their own."""
    run = run_of(waves(**{"adaptation.rate": 0.1}))
    norms, aligned = {"before": [], "after": []}, {"dense 1": [], "head": []}
    for before, after, query in paths(run):
        for place, parameters in (("before", before), ("after", after)):
            gradient = query_gradient(run.method.learner, run.method.rule.problem, parameters, query)
            norms[place].append(np.sqrt(sum(np.sum(np.square(part)) for part in gradient)))
        pair = [representations(parameters, query.inputs) for parameters in (before, after)]
        for layer, values in aligned.items():
            values.append(linear_cka(*(found[layer] for found in pair)))
    made = gradient_norm([run], EPISODES)
    assert [(row["place"], row["layer"]) for row in made.rows] == [
        (place, layer) for place in ("before", "after") for layer in ("dense 1", "all layers")
    ]
    for row in made.rows:
        check(row, run, row["layer"], norms[row["place"]])
    assert not np.allclose(norms["before"], norms["after"])
    for row, (layer, values) in zip(linear_cka_of_adaptation([run], EPISODES).rows, aligned.items(), strict=True):
        check(row, run, layer, values)


def test_the_first_inner_gradient_is_what_the_first_step_takes():
    run = run_of(waves(**{"adaptation.rate": 0.1}))
    batch, rule = run.experiment.episodes("test").batch(0, EPISODES), run.method.rule
    moves = {"dense 1": [], "head": [], "head to body": []}
    for number in range(EPISODES):
        support = one_task(batch, number).support
        before, after = rule.adapt(run.method.learner, rule.initial(run.method.learner), support, ()).path[:2]
        body, head = (
            np.sqrt(sum(np.sum(np.square(one - other)) for one, other in zip(*groups, strict=True))) / 0.1
            for groups in zip(before.parameters, after.parameters, strict=True)
        )
        for name, value in zip(moves, (body, head, head / body), strict=True):
            moves[name].append(value)
    for row, (name, values) in zip(first_inner_gradient([run], EPISODES).rows, moves.items(), strict=True):
        check(row, run, name, values)
    assert np.ptp(moves["head to body"]) > 0.01


# Whatever gamma is, 0 too.
@pytest.mark.parametrize("co_learner, gamma", [("cml", 0.0), ("cl", 0.7)])
def test_the_two_gradients_are_those_of_the_two_losses(co_learner, gamma):
    run = run_of(waves(co_learner, **{"objective.gamma": gamma, "adaptation.rate": 0.1}), "CL")
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


@pytest.mark.parametrize(
    "words, fault",
    [
        ("maml", "it has no co-learner"),
        ("cml,reptile", "the outer step of reptile"),
        ("cml,random_noise", ""),
    ],
)
def test_faults_say_why(words, fault):
    told = gradient_cosine_fault(run_of(waves(words)))
    assert told.startswith(fault) and bool(told) == bool(fault)


def test_layers_that_are_frozen_have_no_analysis(monkeypatch):
    run = run_of(waves("cml"))
    learner = run.method.learner
    monkeypatch.setattr(learner, "variables", learner.variables._replace(extractor=()))
    assert {one.name for one in ANALYSES if "frozen" in one.fault(run)} >= {
        "gradient_cosine",
        "gradient_norm",
        "linear_cka",
    }


def test_guessing_is_drawn_at_the_ways_of_the_episodes(monkeypatch):
    """Models for tasks of any size have more outputs."""
    chances = []
    monkeypatch.setattr(figures, "read_curves", lambda *run: [])
    monkeypatch.setattr(figures, "mean_curves", lambda curves: [])
    monkeypatch.setattr(figures, "draw_learning_curves", lambda curves, metric, chance: chances.append(chance))
    run = run_of(presets.images("glyphs", "maml,mlp,3way,any_size,unicorn_maml,smoke"))
    figures.accuracy_curves([run], 1)
    assert chances == [1 / 3] and run.experiment.problem.outputs > 3


@pytest.mark.parametrize("words", ["maml,kernel_ridge", "maml,adjoint_heun", "maml,implicit"])
def test_what_leaves_no_path_has_no_before_and_after(words):
    run = run_of(waves(words))
    named = {one.name for one in ANALYSES if "one by one" in one.fault(run)}
    assert named == {"gradient_norm", "linear_cka", "query_features_tsne"}
    assert not path_fault(run_of(waves("maml")))


@pytest.mark.parametrize(
    "words, fault",
    [
        ("maml", ""),
        ("maml,anil", "its inner steps move the head alone"),
        ("maml,kernel_ridge", "it takes no inner steps"),
    ],
)
def test_bodies_and_heads_are_compared_where_both_take_a_step(words, fault):
    assert first_inner_gradient_fault(run_of(waves(words))) == fault
