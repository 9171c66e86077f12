"""Query mixup: what it draws, what it computes, and that it changes nothing else."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.experiments.configuration import check_config
from cml_tf.learners import Learner, conv4
from cml_tf.objectives import ObjectiveTerm, QueryLoss, QueryMixup, TermLoss
from cml_tf.problems import Classification, Regression
from cml_tf.registry import members
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from cml_tf.training.task_mapping import can_be_vectorised
from tests.helpers.contract_tables import PROBLEM, make_episode, make_method
from tests.helpers.differences import assert_matches_central_differences, gradients_of
from tests.helpers.members import choice_with, contract_case
from tests.helpers.models import randomise, smooth_co_learner, smooth_mlp, two_blocks
from tests.helpers.seeded_episodes import classification_episode, one_task, regression_episode
from tests.helpers.small_configs import changed, load, waves

KEY = tf.constant([3, 5], tf.int64)


def with_terms(method, *terms):
    return Method.of(method.learner, method.rule, terms)


def loss_of(term, method, episode):
    return evaluate_losses(with_terms(method, term), episode)[0][:, 0].numpy()


class Fixed(QueryMixup):
    """Draws what it is told."""

    shares: tuple[float, ...] = ()
    partners: tuple[int, ...] = ()

    def drawn(self, key, count):
        return tf.constant(self.shares, keras.config.floatx()), tf.constant(self.partners)


def fixed(episode, problem=PROBLEM, shares=None, **arguments):
    term, count = Fixed(problem, **arguments), episode.query.targets.shape[1]
    term.partners = tuple(np.roll(range(count), 1))
    term.shares = tuple(np.linspace(0.1, 0.9, count) if shares is None else [shares] * count)
    return term


def mixture(values, term):
    share = np.reshape(term.shares, [-1] + [1] * (np.ndim(values) - 1))
    return share * values + (1 - share) * np.asarray(values)[list(term.partners)]


def expected_losses(term, logits, labels):
    """The cross-entropy of a mixed label is the mixture of two."""
    log, rows, partners = tf.nn.log_softmax(logits).numpy(), range(len(labels)), list(term.partners)
    share = np.array(term.shares)
    return -(share * log[rows, labels] + (1 - share) * log[rows, labels[partners]])


def adapted_task(method, episode):
    task = one_task(episode, 0)
    return method.outcome(method.rule.initial(method.learner), task).adapted, task


def test_the_loss_of_a_mixture_is_that_of_its_inputs_and_labels(float64):
    """With the convolutions' normalisation this holds only if no raw query is in the batch."""
    method, episode = make_method(learner="conv"), make_episode("conv", tasks=1)
    term = fixed(episode)
    adapted, task = adapted_task(method, episode)
    _, logits = adapted.predict(tf.constant(mixture(task.query.inputs.numpy(), term)))
    expected = expected_losses(term, logits, task.query.targets.numpy()).mean()
    np.testing.assert_allclose(loss_of(term, method, episode), [expected], rtol=1e-10)


@pytest.mark.parametrize("learner", ["per_step_normalisation", "embedding", "gcn"])
def test_a_hidden_mixture_is_of_the_features_that_the_head_reads(float64, learner):
    """Of every learner: numbers of words and nodes have features that can be mixed."""
    method, episode = make_method(learner=learner), make_episode(learner, tasks=1)
    term = fixed(episode, mix="hidden")
    adapted, task = adapted_task(method, episode)
    features, _ = adapted.predict(task.query.inputs)
    (mixed,) = [tf.constant(mixture(part.numpy(), term)) for part in tf.nest.flatten(features)]
    head, state = adapted.parameters.head, adapted.state.head
    logits = tf.nest.flatten(method.learner.read(head, state, mixed, training=False)[0])[0]
    expected = expected_losses(term, logits, task.query.targets.numpy()).mean()
    np.testing.assert_allclose(loss_of(term, method, episode), [expected], rtol=1e-10)


@pytest.mark.parametrize("mix", ["input", "hidden"])
def test_a_share_of_one_is_the_plain_method_bit_for_bit(mix):
    """Losses, and the gradient of every variable, in the training's own float32."""
    learner = two_blocks(conv4, 3, (8, 8, 1), 3)
    method = Method.of(learner, GradientDescent(PROBLEM, SGD(0.3), 1), [QueryLoss(PROBLEM)])
    episode = classification_episode(tasks=1, shape=(8, 8, 1))._replace(key=KEY[None])
    mixed = with_terms(method, fixed(episode, shares=1.0, mix=mix))
    plain, other = (meta_gradient(one, episode, one.weights()) for one in (method, mixed))
    np.testing.assert_array_equal(other.term_losses, plain.term_losses)
    for left, right in zip(other.gradients["learner"], plain.gradients["learner"], strict=True):
        np.testing.assert_array_equal(left, right)
    half = with_terms(method, fixed(episode, shares=0.5, mix=mix))
    assert not np.array_equal(loss_of(half.terms[0], method, episode), plain.term_losses[:, 0])


class Probe(ObjectiveTerm):
    """Says where adaptation ended."""

    def __call__(self, outcome, values):
        ends = {f"end_{place}": tensor for place, tensor in enumerate(outcome.adapted.tensors())}
        return TermLoss(tf.zeros([], tf.float64), ends)


def test_adapted_parameters_and_the_co_learner_are_the_same_with_and_without(float64):
    """The inner loop does not know of mixtures, and phi sees raw queries."""
    method, episode = make_method(learner="conv"), make_episode("conv")
    others = QueryLoss(PROBLEM), smooth_co_learner(PROBLEM), Probe("probe")
    with_mixup = with_terms(method, QueryMixup(PROBLEM), *others)
    randomise(with_mixup.terms[2].variables, 11)
    _, expected = evaluate_losses(with_terms(method, *with_mixup.terms[1:]), episode)
    losses, found = evaluate_losses(with_mixup, episode)
    assert found.keys() == expected.keys() and {"end_0", "co_loss", "accuracy"} <= found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert not np.array_equal(losses[:, 0], losses[:, 1])


def test_the_meta_gradient_of_hidden_mixtures_matches_differences(float64):
    method, episode = make_method(learner="conv"), make_episode("conv", tasks=1)
    terms = QueryLoss(PROBLEM, weight=0.4), QueryMixup(PROBLEM, mix="hidden", weight=0.6)
    assert_matches_central_differences(with_terms(method, *terms), episode)


@pytest.mark.parametrize("mix", ["input", "hidden"])
def test_consistency_pulls_mixtures_to_constant_mixed_predictions(float64, mix):
    method, episode = make_method(learner="conv"), make_episode("conv", tasks=1)
    term = fixed(episode, mix=mix, loss="consistency")
    adapted, task = adapted_task(method, episode)
    features, logits = adapted.predict(task.query.inputs)
    wanted = mixture(tf.nn.softmax(logits).numpy(), term)

    class Pulled(Fixed):
        """The same loss with numbers in the place of what is stopped."""

        def __call__(self, outcome, values):
            found = tf.nn.softmax(self._outputs(outcome, *self.drawn(None, None)))
            return TermLoss(tf.reduce_mean(tf.reduce_sum((found - wanted) ** 2, -1)), {})

    pulled = Pulled(PROBLEM, mix=mix, name="pulled")
    pulled.shares, pulled.partners = term.shares, term.partners
    np.testing.assert_allclose(loss_of(term, method, episode), loss_of(pulled, method, episode), rtol=1e-12)
    assert loss_of(term, method, episode)[0] > 1e-6
    expected, received = (gradients_of(with_terms(method, one), episode)["learner"] for one in (pulled, term))
    for left, right in zip(received, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-13)
    assert loss_of(fixed(episode, shares=1.0, mix=mix, loss="consistency"), method, episode)[0] == 0


@pytest.mark.parametrize(("concentration", "variance"), [(0.5, 0.125), (2.0, 0.05), (0.001, 0.2495)])
def test_draws_are_of_the_beta_distribution_and_follow_from_the_key(concentration, variance):
    """Its variance is 1 / (4 (2a + 1))."""
    term = QueryMixup(PROBLEM, concentration)
    shares, partners = term.drawn(KEY, 20000)
    assert abs(float(tf.math.reduce_variance(shares)) - variance) < 0.04 * variance
    assert abs(float(tf.reduce_mean(shares)) - 0.5) < 0.01
    assert sorted(partners.numpy()) == list(range(20000))
    np.testing.assert_array_equal(shares, term.drawn(KEY, 20000)[0])
    assert not np.array_equal(shares, term.drawn(KEY + 1, 20000)[0])


def test_a_linear_model_s_expected_loss_is_known(float64):
    """At concentration 1 it is 2/3 of the mean squared residual and 1/3 of the squared mean one."""
    problem, tasks = Regression(1), 4000
    learner = Learner(keras.layers.Identity(), keras.layers.Dense(1), input_shape=(2,))
    randomise(learner, 0)
    one = regression_episode(tasks=1, queries=12)
    same = tf.nest.map_structure(lambda tensor: tf.repeat(tensor, tasks, 0), tuple(one)[:2])
    episode = Episode(*same, key=tf.stack([tf.fill([tasks], 7), tf.range(tasks)], 1))
    method = Method.of(learner, GradientDescent(problem, SGD(0.1), 1), [QueryMixup(problem, 1.0)])
    losses = tf.function(lambda batch: evaluate_losses(method, batch)[0], autograph=False)(episode).numpy()[:, 0]
    adapted, task = adapted_task(method, episode)
    residuals = (adapted.predict(task.query.inputs)[1] - task.query.targets).numpy()
    expected = 2 / 3 * (residuals**2).mean() + residuals.mean() ** 2 / 3
    assert abs(losses.mean() - expected) < 5 * losses.std() / tasks**0.5 < 0.05 * expected
    assert abs(losses.mean() - (residuals**2).mean()) > 20 * losses.std() / tasks**0.5


def test_only_queries_that_count_are_mixed_and_only_within_their_task():
    """A task with rows that do not count is the shorter task, whatever those rows hold."""
    method, whole = make_method(), make_episode(tasks=2)
    kept = np.array([[True] * 4 + [False] * 2, [True] * 6])
    wild = np.where(kept[..., None], whole.query.inputs, np.float32(1e9))
    masked = whole._replace(query=Examples(tf.constant(wild), whole.query.targets, tf.constant(kept)))
    for mix in ("input", "hidden"):
        term = QueryMixup(PROBLEM, mix=mix)
        found = loss_of(term, method, masked)
        for position, count in enumerate((4, 6)):
            query = Examples(*(part[position : position + 1, :count] for part in whole.query[:2]))
            support = Examples(*(part[position : position + 1] for part in whole.support[:2]))
            alone = Episode(support, query, key=whole.key[position : position + 1])
            np.testing.assert_allclose(found[position], loss_of(term, method, alone)[0], rtol=1e-6)


def test_soft_labels_are_mixed_as_labels_are():
    method, episode = make_method(), make_episode()
    soft = episode._replace(query=episode.query._replace(targets=tf.one_hot(episode.query.targets, 3)))
    term = QueryMixup(PROBLEM)
    np.testing.assert_allclose(loss_of(term, method, soft), loss_of(term, method, episode), rtol=1e-6)


@pytest.mark.parametrize("rule", [one.name for one in members("rule").values() if one.traits["answers_features"]])
def test_every_rule_s_task_answers_features_as_it_answers_inputs(rule):
    method, episode = contract_case(choice_with("rule", rule))
    adapted, task = adapted_task(method, episode)
    features, outputs = adapted.predict(task.query.inputs)
    np.testing.assert_array_equal(adapted.answer(features), outputs)
    found = loss_of(QueryMixup(PROBLEM, mix="hidden"), method, episode)
    assert np.isfinite(found).all()


def test_what_cannot_be_mixed_is_refused():
    method, episode = make_method(), make_episode()
    with pytest.raises(UserError, match=r"episodes must have a key, .* \[tasks, 2\]"):
        loss_of(QueryMixup(PROBLEM), method, episode._replace(key=()))
    for arguments, message in (
        ({"concentration": 0}, "the concentration must be positive, received 0"),
        ({"mix": "depth"}, "mix must be one of input, hidden, received 'depth'"),
        ({"loss": "l2"}, "loss must be one of targets, consistency, received 'l2'"),
    ):
        with pytest.raises(UserError, match=message):
            QueryMixup(Classification(3), **arguments)
    tokens = make_method(learner="embedding")
    with pytest.raises(UserError, match="mixed queries must be floats, received int32.*set mix to 'hidden'"):
        loss_of(QueryMixup(PROBLEM), tokens, make_episode("embedding"))


def test_tasks_are_worked_on_one_by_one():
    """What it draws has no batched form: TensorFlow would warn, and go through the tasks all the same."""
    method = Method.of(smooth_mlp(), GradientDescent(PROBLEM, SGD(0.1), 1), [QueryLoss(PROBLEM)])
    assert can_be_vectorised(method)
    assert not can_be_vectorised(dataclasses.replace(method, terms=(*method.terms, QueryMixup(PROBLEM))))


def test_of_a_linear_model_mixtures_are_alike_hidden_or_not_and_consistent(float64):
    """Regression, so the targets are mixed as they are."""
    problem, episode = Regression(2), regression_episode(tasks=1, outputs=2)._replace(key=KEY[None])
    learner = Learner(keras.layers.Identity(), keras.layers.Dense(2), input_shape=(2,))
    randomise(learner, 0)
    method = Method.of(learner, GradientDescent(problem, SGD(0.1), 1), [QueryLoss(problem)])
    plain, hidden, consistent = (
        fixed(episode, problem, **options) for options in ({}, {"mix": "hidden"}, {"loss": "consistency"})
    )
    adapted, task = adapted_task(method, episode)
    apart = mixture((adapted.predict(task.query.inputs)[1] - task.query.targets).numpy(), plain)
    np.testing.assert_allclose(loss_of(plain, method, episode), [np.mean(apart**2)], rtol=1e-12)
    np.testing.assert_allclose(loss_of(hidden, method, episode), loss_of(plain, method, episode), rtol=1e-12)
    np.testing.assert_allclose(loss_of(consistent, method, episode), [0.0], atol=1e-28)
    for words in ("maml,query_mixup", "cml,hidden_mixup", "maml,consistent_mixup", "cl,query_mixup"):
        check_config(waves(words))


def test_nodes_are_mixed_by_their_features_only():
    check_config(changed(load("cora", "cml,query_mixup"), **{"objective.mixup_mix": "hidden"}))
    check_config(load("cora", "maml,hidden_mixup"))
