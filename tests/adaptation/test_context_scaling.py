"""Context scaling: what lengths do to a normalised convolution, the inner loop written out, and who is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, ContextScaling, GradientDescent, RuleState, anil, boil
from cml_tf.episodes import Episode
from cml_tf.errors import UserError
from cml_tf.learners import Learner, Normalisation, conv4, mlp, resnet12
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.registry import members
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.models import CONV_SHAPE, randomise, smooth_conv
from tests.helpers.precision import precision
from tests.helpers.seeded_episodes import classification_episode, one_task, tasks_of

CLASSES, RATE, CONTEXT_RATE, SIZE = Classification(3), 0.3, 0.7, 8
# Of normalisation, so large that the context matters: it learns of the task by nothing else.
EPSILON = 0.1


def convolutions(epsilon=0.0, layers=2):
    """Convolutions without bias, each with a normalisation that has nothing to adapt; a linear head."""
    extractor = keras.Sequential()
    for _ in range(layers):
        extractor.add(keras.layers.Conv2D(2, 3, padding="same", use_bias=False))
        extractor.add(Normalisation(epsilon=epsilon, trainable=False))
        extractor.add(keras.layers.Activation("softplus"))
    head = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    learner = Learner(extractor, head, input_shape=CONV_SHAPE)
    randomise(learner, 0)
    return learner


def method_of(learner, rule, steps=2):
    method = Method.of(learner, GradientDescent(CLASSES, rule, steps), [QueryLoss(CLASSES)])
    randomise(rule.meta_variables, 5)
    return method


def episode_of(tasks=2):
    return classification_episode(tasks=tasks, shape=CONV_SHAPE)


class Given(ContextScaling):
    """Lengths that a test says, of kernels."""

    def __init__(self, lengths, rate=RATE):
        super().__init__(rate, context_size=SIZE)
        self.wanted = lengths

    def lengths(self, kernels, context, meta):
        nothing = 0 * sum(tf.reduce_sum(one) for one in (context, *meta))
        return tf.stack([tf.cast(length, kernels[0].dtype) for length in self.wanted(kernels)]) + nothing


class Held(ContextScaling):
    """The first gradient of the context is a constant that was measured before."""

    held = None

    def update(self, gradients, state, parameters, meta):
        if not bool(state.carried):
            self.held = gradients.adapted if self.held is None else self.held
            gradients = gradients._replace(adapted=self.held)
        return super().update(gradients, state, parameters, meta)


def norms(kernels):
    return [tf.norm(kernel) for kernel in kernels]


def halves(kernels):
    return [0.5] * len(kernels)


# ---- one kernel


def test_scaling_changes_no_logit(float64):
    method = method_of(convolutions(), ContextScaling(RATE, context_size=SIZE))
    rule, initial = method.rule.update_rule, method.initial()
    scaled = rule.before_step(initial.parameters, RuleState(tf.constant(np.linspace(-2, 3, SIZE))), initial.meta)
    inputs = one_task(episode_of(), 0).support.inputs
    before, after = (
        method.learner.call(parameters, initial.state, inputs, (), training=True).outputs
        for parameters in (initial.parameters, scaled)
    )
    np.testing.assert_allclose(after, before, atol=1e-9)
    lengths = [np.linalg.norm(kernel) for kernel in scaled.extractor]
    assert np.abs(np.array(lengths) - norms(initial.parameters.extractor)).min() > 0.1, "something was scaled"
    assert abs(lengths[0] - lengths[1]) > 1e-3, "each kernel has a length of its own"


def one_kernel(steps, rate=0.01):
    """A kernel of length 3 that gets the length 0.5; the support loss' gradients there and where it was; its first."""
    learner = convolutions(layers=1)
    (kernel,) = learner.variables.extractor
    kernel.assign(3.0 * kernel / tf.norm(kernel))
    method = method_of(learner, Given(halves, rate), steps)
    task = one_task(episode_of(), 0)

    def gradient(length):
        value = kernel * length / tf.norm(kernel)
        parameters, state = learner.initial()
        with tf.GradientTape() as tape:
            tape.watch(value)
            parameters = parameters._replace(extractor=(value,))
            outputs = learner.call(parameters, state, task.support.inputs, (), True).outputs
            loss = tf.reduce_mean(CLASSES.losses(outputs, task.support.targets))
        return value, tape.gradient(loss, value)

    initial = method.initial()
    (adapted,) = method.outcome(initial, task).adapted.parameters.extractor
    (first,) = method.rule.first_gradients(learner, initial, task.support, ()).extractor
    return gradient, adapted, first


def test_the_length_is_a_rate(float64):
    gradient, adapted, first = one_kernel(steps=1)
    (_, far), (scaled, near) = gradient(3.0), gradient(0.5)
    np.testing.assert_allclose(np.linalg.norm(near) / np.linalg.norm(far), 6.0, rtol=1e-9)
    np.testing.assert_allclose(tf.reduce_sum(scaled * near), 0.0, atol=1e-12)
    np.testing.assert_allclose(adapted, scaled - 0.01 * near, atol=1e-12)
    np.testing.assert_allclose(first, near, atol=1e-12)
    longer = 0.5**2 + 0.01**2 * float(tf.reduce_sum(near**2))
    np.testing.assert_allclose(tf.reduce_sum(adapted**2), longer, rtol=1e-12)


def test_the_first_gradients_are_those_of_the_first_step_that_counts(float64):
    """The step before moves the context, by which the epsilon makes another gradient."""
    method, task = method_of(convolutions(EPSILON), ContextScaling(RATE, CONTEXT_RATE, SIZE)), one_task(episode_of(), 0)
    initial = method.initial()
    start, first, _ = method.outcome(initial, task).adapted.path
    found = method.rule.first_gradients(method.learner, initial, task.support, ())
    for before, after, gradient in zip(start.parameters.head, first.parameters.head, found.head, strict=True):
        np.testing.assert_allclose(after, before - RATE * gradient, rtol=1e-12)


def test_lengths_that_are_those_of_the_kernels_are_maml(float64):
    given, plain = (method_of(convolutions(), rule) for rule in (Given(norms), SGD(RATE)))
    received, expected = (gradients_of(method, episode_of(tasks=1)) for method in (given, plain))
    assert_same_gradients({"learner": received["learner"]}, {"learner": expected["learner"]})


def test_a_context_moves_by_epsilon_alone(float64):
    """The gradient of a kernel is at right angles to it, so none reaches its length, nor what says the length."""
    task = one_task(episode_of(), 0)
    for epsilon, least, most in ((0.0, 0.0, 1e-12), (EPSILON, 1e-3, np.inf)):
        rule = Held(RATE, CONTEXT_RATE, SIZE)
        method = method_of(convolutions(epsilon), rule)
        method.outcome(method.initial(), task)
        assert least <= np.linalg.norm(rule.held) <= most


# ---- the inner loop


def explicit_loss(weights, generator, task: Episode, learner, steps, stop):
    """The query loss of one task after the inner loop, written out."""
    u, v, big_v, bias = generator
    *kernels, head, head_bias = weights
    context = tf.zeros([SIZE], tf.float64)

    def run(kernels, head, head_bias, examples):
        parameters, state = learner.initial()
        parameters = parameters._replace(extractor=tuple(kernels), head=(head, head_bias))
        outputs = learner.call(parameters, state, examples.inputs, (), training=True).outputs
        return tf.reduce_mean(CLASSES.losses(outputs, examples.targets))

    for step in range(steps + 1):
        with tf.GradientTape() as tape:
            tape.watch([context, head, head_bias])
            hidden = tf.nn.relu(context[None] @ u + v[None])
            lengths = tf.math.log(1 + tf.exp(hidden @ big_v + bias[None]))[0]
            scaled = [lengths[k] * kernel / tf.norm(kernel) for k, kernel in enumerate(kernels)]
            tape.watch(scaled)
            loss = run(scaled, head, head_bias, task.support)
        *of_kernels, of_head, of_bias, of_context = tape.gradient(loss, [*scaled, head, head_bias, context])
        if step == 0:
            context = -CONTEXT_RATE * (tf.stop_gradient(of_context) if stop else of_context)
            continue
        kernels = [kernel - RATE * gradient for kernel, gradient in zip(scaled, of_kernels, strict=True)]
        head, head_bias = head - RATE * of_head, head_bias - RATE * of_bias
        context = context - CONTEXT_RATE * of_context
    return run(kernels, head, head_bias, task.query)


def test_gradients_are_those_of_the_loop_written_out(float64):
    """The contract of members compares the exact form with differences."""
    learner = convolutions(EPSILON)
    method = method_of(learner, ContextScaling(RATE, CONTEXT_RATE, SIZE))
    episode = episode_of(tasks=1)
    weights = [tf.convert_to_tensor(v) for v in tf.nest.flatten(tuple(learner.variables))]
    generator = [tf.convert_to_tensor(v) for v in method.rule.meta_variables]

    def expected(stop):
        with tf.GradientTape() as tape:
            tape.watch([*weights, *generator])
            loss = explicit_loss(weights, generator, one_task(episode, 0), learner, 2, stop)
        flat = tape.gradient(loss, [*weights, *generator])
        return {"learner": flat[: len(weights)], "adaptation": flat[len(weights) :]}

    received = gradients_of(method, episode)
    assert_same_gradients(received, expected(stop=True))
    other = expected(stop=False)
    apart = [np.abs(one - two).max() for one, two in zip(received["learner"], other["learner"], strict=True)]
    assert max(apart) > 1e-6, "the first step's gradient matters"


def test_the_meta_gradient_is_a_derivative_with_the_first_gradient_held(float64):
    rule = Held(RATE, CONTEXT_RATE, SIZE)
    method, episode = method_of(convolutions(EPSILON), rule), episode_of(tasks=1)
    method.outcome(method.initial(), one_task(episode, 0))
    assert np.abs(rule.held).max() > 1e-3
    plain = method_of(convolutions(EPSILON), ContextScaling(RATE, CONTEXT_RATE, SIZE))
    assert_matches_central_differences(method, episode, gradients_of(plain, episode))


def test_tasks_begin_alike_and_do_not_mix(float64):
    method, episode = method_of(convolutions(EPSILON), ContextScaling(RATE, CONTEXT_RATE, SIZE)), episode_of(tasks=3)
    rule, initial = method.rule.update_rule, method.initial()
    first = rule.lengths(
        initial.parameters.extractor, rule.init(initial.parameters, initial.meta).adapted, initial.meta
    )
    *_, kernel, bias = initial.meta
    hidden = np.maximum(initial.meta[1].numpy(), 0)
    np.testing.assert_allclose(first, np.log1p(np.exp(hidden @ kernel.numpy() + bias.numpy())), rtol=1e-12)
    losses, _ = evaluate_losses(method, episode)
    turned, _ = evaluate_losses(method, tasks_of(episode, [2, 0, 1]))
    np.testing.assert_allclose(turned, tf.gather(losses, [2, 0, 1]), rtol=1e-10)


@pytest.mark.parametrize(("partition", "moves_head"), [(lambda rule: rule, True), (boil, False)])
def test_only_kernels_and_the_head_move(float64, partition, moves_head):
    learner = smooth_conv()
    rule = GradientDescent(CLASSES, partition(ContextScaling(RATE, CONTEXT_RATE, SIZE)), 2)
    method = Method.of(learner, rule, [QueryLoss(CLASSES)])
    task, initial = one_task(episode_of(), 0), method.initial()
    adapted = method.outcome(initial, task).adapted
    names = [one.name for one in learner.variables.extractor]
    assert names == ["kernel", "bias", "scale", "shift"]
    for name, start, end in zip(names, initial.parameters.extractor, adapted.parameters.extractor, strict=True):
        assert np.array_equal(start, end) == (name != "kernel"), name
    moved = [not np.array_equal(*pair) for pair in zip(initial.parameters.head, adapted.parameters.head, strict=True)]
    assert moved == [moves_head] * 2 and len(adapted.path) == 3


# ---- who is refused


def body(*layers):
    return Learner(keras.Sequential(layers), keras.layers.Dense(3), input_shape=CONV_SHAPE)


def conv(**options):
    return keras.layers.Conv2D(2, 3, padding="same", **options)


REFUSED = {
    "needs convolutions in the extractor, received 'extractor' without": lambda: mlp(3, (2,)),
    "needs a normalisation after every convolution, received '.*second/kernel' without: add": lambda: body(
        conv(), Normalisation(relu=True), conv(name="second"), keras.layers.Flatten()
    ),
    # With a bias of 0, as it begins, no length would be told.
    "received '.*first/kernel' without": lambda: body(
        conv(name="first", activation="relu"), Normalisation(), keras.layers.Flatten()
    ),
    "one more step than is counted": lambda: smooth_conv(mode="per_step", steps=2),
}


@pytest.mark.parametrize("message", REFUSED)
def test_learners_that_scaling_would_change_are_refused(message):
    with pytest.raises(UserError, match=message):
        GradientDescent(CLASSES, ContextScaling(RATE)).build(REFUSED[message]())


def test_rules_and_numbers_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="received the head alone: leave out anil"):
        GradientDescent(CLASSES, anil(ContextScaling(RATE))).build(smooth_conv())
    with pytest.raises(UserError, match=r"sharpness must be 0 .*\(ContextScaling\), received 0.1"):
        GradientDescent(CLASSES, ContextScaling(RATE), sharpness=0.1)
    for arguments in ((0.0,), (RATE, -1.0), (RATE, 1.0, 0)):
        with pytest.raises(ValueError, match="must be positive|must be at least 1"):
            ContextScaling(*arguments)


WELCOME = [("float32", name, conv4) for name, one in MODES.items() if one.standardises and not one.counts_steps]
# In half precision statistics of single images amplify what rounding leaves: the trial may refuse tasknorm there.
WELCOME += [("mixed_bfloat16", "support", conv4), ("mixed_bfloat16", "batch_transductive", resnet12)]


@pytest.mark.parametrize(("policy", "mode", "make"), WELCOME)
def test_provided_convolutional_learners_are_welcome(policy, mode, make):
    with precision(policy=policy):
        ContextScaling(RATE).check(make(3, (16, 16, 1), filters=2, normalisation=mode, groups=2))
    assert {name for name, one in members("learner").items() if one.traits["normalised"]} == {"conv4", "resnet12"}


def test_a_co_learner_in_the_place_of_the_head_is_no_obstacle():
    """As CML-dagger's first reading adapts: the extractor alone, through another head."""
    learner, rule = smooth_conv(), GradientDescent(CLASSES, ContextScaling(RATE, context_size=SIZE), 1)
    rule.build(learner)
    head = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.Dense(3)])
    other = Learner(learner.extractor, head, example_inputs=learner.example_inputs)
    through = rule.through_head(tuple(tuple(v.shape) for v in learner.variables.head))
    through.build(other)
    assert through.meta_variables == rule.meta_variables
    adapted = through.adapt(other, through.initial(other), one_task(episode_of(), 0).support, ())
    assert not np.array_equal(adapted.parameters.extractor[0], other.variables.extractor[0])


def test_it_is_made_again_from_its_configuration():
    rule = ContextScaling(RATE, CONTEXT_RATE, SIZE, exact_context=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
    assert again.get_config() == rule.get_config() and vars(again) == vars(rule)
