"""Every update rule and objective x learner: the meta-gradient is what it says it is, under every hypergradient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import make_hypergradient
from cml_tf.episodes import Episode
from cml_tf.learners import Parameters
from cml_tf.training.method import Method
from tests.helpers.contract_tables import UPDATE_RULES, make_episode, make_method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.seeded_episodes import one_task

CASES = [
    # The perceptron goes through everything: every kind of rate, of everything, of a part and of nothing.
    *((rule, "co_learner", "mlp") for rule in ("sgd", "anil_meta_sgd", "boil_sgd", "a_rule_for_each", "frozen")),
    # Terms see what a rule adapted, not how: each where every step differs, or where a part or nothing is adapted.
    *(("per_step_rates", terms, "mlp") for terms in ("two_co_learners", "cl", "multi_step")),
    *(("frozen", terms, "mlp") for terms in ("cl", "multi_step")),
    *(("boil_meta_sgd", terms, "mlp") for terms in ("query_loss", "query_mixup")),
    # Rates of all parameters see every tensor of a learner; where that takes long, plain steps do.
    *(("meta_sgd", "co_learner", f"{mode}_normalisation") for mode in ("per_step", "tasknorm")),
    *(("meta_sgd", "co_learner", learner) for learner in ("conv", "gcn")),
    *(("sgd", "co_learner", learner) for learner in ("support_normalisation", "residual", "recurrent")),
    # Gradients as rows of a table, beside rates that have as many entries as no parameter has.
    ("per_step_rates", "co_learner", "embedding"),
]


@pytest.mark.parametrize(("rule", "terms", "learner"), CASES)
def test_meta_gradient(float64, rule, terms, learner):
    # Tasks are weighed alike whatever is done in them.
    tasks = 2 if (rule, learner) == ("sgd", "mlp") else 1
    method, episode = make_method(rule, terms, learner), make_episode(learner, tasks=tasks)
    assert set(method.trained_variables()) >= {"learner"} | ({"adaptation"} if UPDATE_RULES[rule].rated else set())

    reverse = gradients_of(method, episode)
    assert all(gradient is not None for group in reverse.values() for gradient in group)
    assert_matches_central_differences(method, episode, reverse)

    method.rule.hypergradient = make_hypergradient("reverse_rematerialised")
    assert_same_gradients(gradients_of(method, episode), reverse)

    if terms in ("multi_step", "query_mixup"):
        # Theirs is taken at several iterates, or of other queries: see their own tests.
        return
    method.rule.hypergradient = make_hypergradient("first_order")
    first_order = gradients_of(method, episode)
    assert_same_gradients(first_order, _query_gradients(method, episode, UPDATE_RULES[rule].rated))
    if rule != "frozen":
        furthest = max(np.abs(a - b).max() for a, b in zip(reverse["learner"], first_order["learner"], strict=True))
        assert furthest > 1e-3, "otherwise this would prove nothing about the second order"


def _query_gradients(method: Method, episode: Episode, rated: tuple[str, ...]) -> dict[str, list[tf.Tensor]]:
    """The gradient of the weighted query losses at the adapted parameters, with nothing of the inner loop in it.

    Inner gradients being constants, adapted = initial - rates * (their sum), which gives the rates' gradient too.
    """
    tasks = int(episode.support.targets.shape[0])
    total: dict[str, list[tf.Tensor]] = {}
    for position in range(tasks):
        for group, gradients in _of_one_task(method, one_task(episode, position), rated).items():
            shares = [gradient / tasks for gradient in gradients]
            total[group] = [a + b for a, b in zip(total[group], shares, strict=True)] if group in total else shares
    return total


def _of_one_task(method: Method, task: Episode, rated: tuple[str, ...]) -> dict[str, list[tf.Tensor]]:
    learner, initial, values = method.learner, method.rule.initial(method.learner), method.term_values()
    iterates = method.outcome(initial, task).adapted.path
    path, state = [iterate.parameters for iterate in iterates], iterates[-1].state
    path = tf.nest.map_structure(tf.stop_gradient, path)
    adapted = path[-1]
    with tf.GradientTape() as tape:
        tape.watch(tf.nest.flatten((adapted, values)))
        if learner.state_follows_parameters:
            # Statistics of a support set are a function of the adapted parameters, and no part of the inner loop.
            support = task.support
            state = learner.call(adapted, state, support.inputs, task.context, True, support.targets).state
        features, outputs, _ = learner.call(adapted, state, task.query.inputs, task.context, training=False)
        loss = tf.constant(0.0, tf.float64)
        for term, own in zip(method.terms, values, strict=True):
            log_probabilities = tf.nn.log_softmax(term.read((features, outputs), own))
            picked = tf.gather(log_probabilities, task.query.targets, batch_dims=1)
            loss -= term.weight * tf.reduce_mean(picked)
    # Those of a table's rows are made dense by themselves.
    gradients, of_terms = tf.nest.map_structure(tf.convert_to_tensor, tape.gradient(loss, (adapted, values)))
    result = {"learner": tf.nest.flatten(tuple(gradients))}
    result.update({term.name: list(own) for term, own in zip(method.terms, of_terms, strict=True) if own})
    if rated:
        result["adaptation"] = _rate_gradients(initial.meta, path, gradients, rated)
    return result


def _rate_gradients(meta, path: list[Parameters], gradients: Parameters, rated: tuple[str, ...]) -> list[tf.Tensor]:
    rates, result = iter(meta), []
    for group in rated:
        for positions in zip(*(getattr(iterate, group) for iterate in path), getattr(gradients, group), strict=True):
            *points, gradient = positions
            own = next(rates)
            if own.shape == gradient.shape:
                result.append(gradient * (points[-1] - points[0]) / own)
                continue
            ways = [later - earlier for earlier, later in itertools.pairwise(points)]
            never_made = [tf.constant(0.0, gradient.dtype)] * (len(own) - len(ways))
            result.append(tf.stack([tf.reduce_sum(gradient * way) for way in ways] + never_made) / own)
    return result


def test_rematerialised_equals_reverse_when_compiled(float64):
    """The backward pass runs the step again: inside a compiled graph that must give the same too.

    Of a learner whose state changes with every pass.
    """
    learner = "per_step_normalisation"
    method, episode = make_method("sgd", "query_loss", learner), make_episode(learner)
    expected = gradients_of(method, episode)
    method.rule.hypergradient = make_hypergradient("reverse_rematerialised")
    compiled = tf.function(lambda meta_batch: gradients_of(method, meta_batch), autograph=False)
    assert_same_gradients(compiled(episode), expected)


def test_unknown_hypergradient_is_named():
    with pytest.raises(ValueError, match="must be one of .*finite_difference, .*, received 'backward'"):
        make_hypergradient("backward")
