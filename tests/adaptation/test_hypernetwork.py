"""HyperMAML's rule: what its network may depend on, what it leaves alone, its warm-up, and that it learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, AdaptationRule, GradientDescent, Hypernetwork, anil
from cml_tf.adaptation.hypernetwork import gradient_share
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.models import randomise, smooth_mlp, two_headed
from tests.helpers.seeded_episodes import classification_episode, one_task

CLASSES, PAIR = Classification(3), Classification(2)
KINDS = {"plain": {"enhanced": False}, "enhanced": {}, "equivariant": {"equivariant": True}}
of_kinds = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


def made(rule: AdaptationRule | None = None, **options) -> Method:
    """A smooth learner and a small hypernetwork, with random values everywhere."""
    method = Method.of(smooth_mlp(), rule or Hypernetwork(CLASSES, width=8, **options), [QueryLoss(CLASSES)])
    randomise(method.rule.meta_variables, 5)
    return method


def support(seed: int = 0, shots: int = 2) -> Examples:
    return one_task(classification_episode(seed, shots=shots), 0).support


def change(method: Method, examples: Examples) -> np.ndarray:
    """What adaptation adds to each class: its column of the kernel and its bias, `[classes, width + 1]`."""
    initial = method.initial()
    task = method.rule.adapt(method.learner, initial, examples, ())
    kernel, bias = initial.parameters.head
    return np.concatenate([task.kernel - kernel, [task.bias - bias]]).T


def by_hand(method: Method, examples: Examples, enhanced: bool = True, equivariant: bool = False) -> np.ndarray:
    """The same, class by class and example by example, in NumPy."""
    kernel, bias = (value.numpy() for value in method.learner.variables.head)
    labels, rows = examples.targets.numpy(), method.learner.extractor(examples.inputs).numpy()
    changes = []
    for label in range(3):
        read = []
        for row in rows[labels == label]:
            chances = np.exp(row @ kernel + bias)
            chances /= chances.sum()
            others = [chances[label], np.delete(chances, label).max()] if equivariant else [*chances, label]
            read.append([*row, *(others if enhanced else [])])
        hidden = np.mean(read, 0)
        *layers, last = zip(method.rule.meta_variables[::2], method.rule.meta_variables[1::2], strict=True)
        for weights, shift in layers:
            hidden = np.maximum(hidden @ weights.numpy() + shift.numpy(), 0)
        changes.append(-(hidden @ last[0].numpy() + last[1].numpy()))
    return np.stack(changes)


@of_kinds
def test_it_is_the_equations(float64, options):
    method = made(**options, depth=4)
    assert len(method.rule.meta_variables) == 8
    np.testing.assert_allclose(change(method, support()), by_hand(method, support(), **options), rtol=1e-10)


@of_kinds
def test_classes_in_another_order_change_alike_unless_their_numbers_are_read(float64, options):
    """With features alone exactly; by the numbers of classes the paper's enhancement tells them apart."""
    method, examples, order = made(**options), support(), np.array([2, 0, 1])
    kernel, bias = method.learner.variables.head
    before = change(method, examples)
    # The class that was `order[c]` is called c now, in the labels and in the head.
    kernel.assign(tf.gather(kernel, order, axis=1))
    bias.assign(tf.gather(bias, order))
    renamed = examples._replace(targets=tf.gather(np.argsort(order).astype(np.int32), examples.targets))
    after = change(method, renamed)
    if options == KINDS["enhanced"]:
        assert np.abs(after - before[order]).max() > 1e-2
    else:
        np.testing.assert_allclose(after, before[order], rtol=0, atol=1e-15)


@of_kinds
def test_shots_of_a_class_in_another_order_change_the_same(float64, options):
    """`tests/proofs/test_symmetries.py` has the order of all examples."""
    method, examples = made(**options), support(shots=3)
    order = np.arange(9)
    for label in range(3):
        places = np.flatnonzero(examples.targets == label)
        order[places] = np.roll(places, 1)
    moved = examples._replace(inputs=tf.gather(examples.inputs, order))
    np.testing.assert_allclose(change(method, moved), change(method, examples), rtol=1e-12, atol=1e-12)


@of_kinds
def test_a_last_layer_of_zeros_changes_nothing(options):
    """Bit for bit, in the number format of everyday use too."""
    method, examples = made(**options), support()
    for variable in method.rule.meta_variables[-2:]:
        variable.assign(tf.zeros_like(variable))
    initial = method.initial()
    task = method.rule.adapt(method.learner, initial, examples, ())
    np.testing.assert_array_equal(task.kernel, initial.parameters.head[0])
    np.testing.assert_array_equal(task.bias, initial.parameters.head[1])


def test_a_class_without_an_example_keeps_its_weights(float64):
    method, examples = made(), support()
    seen = np.flatnonzero(examples.targets.numpy() != 1)
    changes = change(method, tf.nest.map_structure(lambda leaf: tf.gather(leaf, seen), examples))
    assert not changes[1].any() and changes[[0, 2]].all()


# ---- gradients


@of_kinds
def test_the_meta_gradient_takes_the_softmax_as_a_constant(float64, options):
    """Exact with it replaced by its value: what differences of that method say, and others do not."""
    episode, method = classification_episode(tasks=1), made(**options)
    kernel, bias = method.learner.variables.head
    rows = method.learner.extractor(episode.support.inputs[0])
    chances = tf.nn.softmax(rows @ kernel + bias)

    class Fixed(Hypernetwork):
        def _chances(self, rows, kernel, bias):
            return tf.constant(chances.numpy())

    fixed = made(Fixed(CLASSES, width=8, **options))
    gradients = gradients_of(method, episode)
    assert_matches_central_differences(fixed, episode, gradients)
    if options.get("enhanced", True):
        with pytest.raises(AssertionError):
            assert_matches_central_differences(method, episode, gradients)


def test_all_tasks_at_once_give_the_same_gradients(float64):
    method, episode = made(warm_up=1), classification_episode()
    scalars = {"gradient_share": tf.constant(0.3, tf.float64)}
    options = {"weights": method.weights(), "scalars": scalars}
    at_once = tf.function(lambda: meta_gradient(method, episode, vectorised=True, **options), autograph=False)
    assert_same_gradients(at_once().gradients, meta_gradient(method, episode, **options).gradients)


# ---- warm-up


def test_the_share_falls_as_the_paper_has_it():
    shares = {step: gradient_share(step, 100, 1000) for step in (0, 99, 100, 600, 1099, 1100, 9999)}
    assert shares == {0: 1, 99: 1, 100: 1000 / 1001, 600: 500 / 1001, 1099: 1 / 1001, 1100: 0, 9999: 0}
    assert gradient_share(2, 2, 0) == 0 and gradient_share(0, 0, 1) == 0.5


def at_share(method: Method, share: float, episode: Episode):
    """Losses and gradients at a share of the gradients."""
    scalars = {"gradient_share": tf.constant(share, tf.float64)}
    return meta_gradient(method, episode, method.weights(), scalars=scalars)


def test_while_warming_up_it_is_anil_of_five_steps(float64):
    episode = classification_episode()
    warm = at_share(made(warm_up=1), 1.0, episode)
    reference = made(GradientDescent(CLASSES, anil(SGD(0.01)), 5))
    expected = meta_gradient(reference, episode, reference.weights())
    np.testing.assert_allclose(warm.term_losses, expected.term_losses, rtol=1e-12)
    assert not any(np.any(gradient) for gradient in warm.gradients["adaptation"])
    learner = {"learner": expected.gradients["learner"]}
    assert_same_gradients({"learner": warm.gradients["learner"]}, learner)
    assert set(warm.gradients) == {"learner", "adaptation"}


def test_nothing_jumps_when_the_warm_up_ends(float64):
    method, episode = made(fade=10), classification_episode()
    almost, after, never = at_share(method, 1e-13, episode), at_share(method, 0.0, episode), made()
    assert_same_gradients(almost.gradients, after.gradients, 1e-9)
    expected = meta_gradient(never, episode, never.weights())
    assert_same_gradients(after.gradients, expected.gradients, 0)
    between = at_share(method, 0.5, episode)
    assert np.abs(between.term_losses - after.term_losses).max() > 1e-3


def test_half_way_its_gradient_is_exact(float64):
    class Half(Hypernetwork):
        schedules = {}

        def fit(self, rows, support, kernel, bias, initial):
            scalars = {"gradient_share": tf.constant(0.5, tf.float64)}
            return super().fit(rows, support, kernel, bias, initial._replace(scalars=scalars))

    assert_matches_central_differences(made(Half(CLASSES, width=8, enhanced=False)), classification_episode())


def has_gradient_steps(function, *arguments) -> bool:
    """Whether a graph, or a function in it, has a softmax: nothing else of a plain hypernetwork makes one."""
    graph = function.get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    return any(node.op == "Softmax" for node in nodes)


@pytest.mark.parametrize("options", [{}, {"warm_up": 2, "fade": 3}])
def test_gradient_steps_are_in_the_graph_of_a_warm_up_and_in_no_other(options):
    episode, method = classification_episode(), made(enhanced=False, **options)
    step = MetaStep(
        method, {group: keras.optimizers.SGD(0.1) for group in method.trained_variables()}, vectorised=False
    )
    scalars = {name: tf.constant(one.at(3)) for name, one in method.schedules.items()}
    trained = has_gradient_steps(step._compiled, episode, tf.constant([1.0]), False, ("query_loss",), scalars)
    assert trained is bool(options)
    assert not has_gradient_steps(tf.function(lambda: evaluate_losses(method, episode), autograph=False))


@pytest.mark.slow
def test_a_warm_up_is_one_graph_and_hands_over():
    keras.utils.set_random_seed(0)
    rule = Hypernetwork(CLASSES, width=8, warm_up=2, fade=2)
    trainer = Trainer(mlp(3, (2,)), rule, [QueryLoss(CLASSES)], CLASSES, optimizer="sgd")
    moved = []
    for steps in (2, 3, 5):
        start = [variable.numpy() for variable in rule.meta_variables]
        trainer.fit([classification_episode()] * 5, steps, verbose=0)
        moved.append(any(np.any(a != b.numpy()) for a, b in zip(start, rule.meta_variables, strict=True)))
    assert moved == [False, True, True] and trainer.meta_step.traces == 1


# ---- that it learns


def pairs(tasks: int, queries: int, noise: float = 0.3, seed: int = 0):
    """Two classes, around (2, 0) and (-2, 0); which is which is drawn for each task."""
    generator = np.random.default_rng(seed)

    def part(sign, count):
        labels = np.broadcast_to(np.repeat([0, 1], count), (tasks, 2 * count))
        inputs = noise * generator.standard_normal((tasks, 2 * count, 2))
        inputs[..., 0] += 2 * sign[:, None] * (1 - 2 * labels)
        return Examples(tf.constant(inputs, tf.float32), tf.constant(labels, tf.int32))

    while True:
        sign = generator.choice([-1.0, 1.0], tasks)
        yield Episode(part(sign, 1), part(sign, queries))


def query_loss(learner: Learner, rule: AdaptationRule, episodes) -> float:
    losses, _ = evaluate_losses(Method.of(learner, rule, [QueryLoss(PAIR)]), next(episodes))
    return float(tf.reduce_mean(losses))


@pytest.mark.slow
def test_where_a_start_tells_nothing_its_change_is_as_large_as_it_must_be():
    """From the best start, all zeros, a gradient step at 0.01 leaves a cross-entropy of log(1 + exp(-0.04))."""
    keras.utils.set_random_seed(0)
    learner = Learner(keras.layers.Identity(), keras.layers.Dense(2, kernel_initializer="zeros"), input_shape=(2,))
    step = query_loss(learner, GradientDescent(PAIR, SGD(0.01)), pairs(4, 4, noise=0.0))
    np.testing.assert_allclose(step, np.log1p(np.exp(-0.04)), rtol=1e-5)
    rule = Hypernetwork(PAIR, width=32)
    trainer = Trainer(learner, rule, [QueryLoss(PAIR)], PAIR, optimizer=keras.optimizers.Adam(0.01))
    trainer.fit(pairs(4, 4), 100, verbose=0)
    assert query_loss(learner, rule, pairs(100, 20, seed=1)) <= 0.1


# ---- refusals and saving


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="needs classification, received Regression"):
        Hypernetwork(Regression(1))
    for options in ({"width": 0}, {"depth": 1}, {"warm_up": -1}, {"fade": 0.5}):
        name, value = next(iter(options.items()))
        with pytest.raises(UserError, match=f"{name} must be a whole number of . or more, received {value}"):
            Hypernetwork(CLASSES, **options)
    with pytest.raises(UserError, match="equivariant must be False with enhanced False, received True"):
        Hypernetwork(CLASSES, enhanced=False, equivariant=True)
    with pytest.raises(UserError, match="a head of one trainable linear layer"):
        Hypernetwork(CLASSES).build(two_headed(smooth_mlp()))
    with pytest.raises(UserError, match="Hypernetwork takes no inner steps, received 2"):
        Hypernetwork(CLASSES).with_steps(2)


def test_it_is_made_again_from_its_configuration():
    rule = Hypernetwork(CLASSES, width=7, depth=2, equivariant=True, warm_up=3, fade=4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
    assert again.get_config() == rule.get_config() and again.schedules["gradient_share"].at(3) == 0.8
