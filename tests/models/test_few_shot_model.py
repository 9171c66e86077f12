"""The notebook's model: adapt, predict, summarise, of arrays, of nodes, of runs; what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf import Classification, FewShotModel
from cml_tf.adaptation import SGD, GradientDescent, MetaSGD
from cml_tf.errors import UserError
from cml_tf.experiments.runs import evaluate_run, train_run
from cml_tf.graphs import graph_context
from cml_tf.learners.learner import count_parameters
from cml_tf.learners.nodes import gcn, sgc
from cml_tf.objectives import QueryLoss
from cml_tf.training.evaluator import Evaluator
from cml_tf.training.method import Method
from tests.helpers.few_shot import IMAGE_SHAPE, sinusoid_trainer
from tests.helpers.models import randomise
from tests.helpers.random_graphs import random_graph
from tests.helpers.small_configs import waves
from tests.helpers.small_tasks import NAMES, pictures, points


def test_names_in_probabilities_out(task, classifier):
    assert task.class_names == ("alpha", "beta", "gamma")
    probabilities = task.predict(pictures(5, seed=1))
    assert isinstance(probabilities, np.ndarray) and probabilities.shape == (5, 3)
    assert probabilities.dtype == np.float32 and (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    expected = [task.class_names[column] for column in probabilities.argmax(-1)]
    assert task.classify(pictures(5, seed=1)) == expected
    packed = task.packed()
    assert packed.dtype == np.float32 and packed.shape == (count_parameters(classifier.method.learner.variables),)
    assert task.predict(pictures(0)).shape == (0, 3) and task.classify(pictures(0)) == []


def test_it_is_what_evaluation_computes(regressor):
    """The model of a notebook and the evaluator make one and the same adaptation."""
    pairs = points(5), points(7, seed=1)
    predictions = regressor.adapt(*pairs[0]).predict(pairs[1][0])
    episode = cml_tf.Episode(*(cml_tf.Examples(*(tf.constant(a[None], tf.float32) for a in pair)) for pair in pairs))
    scores = Evaluator(regressor.method, "mse").metrics([episode], 1)["mse"]
    assert np.mean((predictions - pairs[1][1]) ** 2) == pytest.approx(scores[0], rel=1e-5)


@pytest.mark.parametrize(
    ("dataset", "ways", "message"),
    [
        ("sinusoid", 2, "ways is for classifications, received 2"),
        ("glyphs", None, "must be of a regression, as the model is, received 'glyphs', which is classification"),
        ("cosmixture", None, r"takes, arrays of shape \[1\], received 'cosmixture' with arrays of shape \[2\]"),
    ],
)
def test_scores_of_what_the_model_cannot_take_are_refused(regressor, dataset, ways, message):
    with pytest.raises(UserError, match=message):
        regressor.evaluate(cml_tf.datasets.load(dataset), 2, shots=5, ways=ways)


def test_labels_may_be_anything_that_can_be_told_apart_or_soft(classifier):
    images, queries, labels = pictures(6), pictures(4, seed=1), np.array([1, 0, 2, 1, 0, 2])
    expected = classifier.adapt(images, labels.tolist()).predict(queries)
    numbers = [20, -3, 400, 20, -3, 400]
    for same in (NAMES, np.array(NAMES), numbers, labels.astype(np.uint8)):
        np.testing.assert_array_equal(classifier.adapt(images, same).predict(queries), expected)
    assert classifier.adapt(images, numbers).class_names == ("-3", "20", "400")
    soft = classifier.adapt(images, np.eye(3)[labels])
    np.testing.assert_allclose(soft.predict(queries), expected, rtol=1e-4)
    assert soft.class_names == ("0", "1", "2")


def test_fewer_classes_than_ways(classifier):
    """The unused column is dropped, the rest is renormalised."""
    images, queries = pictures(4), pictures(3, seed=1)
    two = classifier.adapt(images, ["b", "a", "b", "a"])
    probabilities = two.predict(queries)
    assert two.class_names == ("a", "b") and probabilities.shape == (3, 2)
    # Soft labels name all columns, so the same adaptation can be seen in full.
    full = classifier.adapt(images, np.eye(3)[[1, 0, 1, 0]]).predict(queries)
    np.testing.assert_allclose(probabilities, full[:, :2] / full[:, :2].sum(-1, keepdims=True), rtol=1e-4)
    one = classifier.adapt(images[:1], ["only"])
    np.testing.assert_array_equal(one.predict(queries), np.ones((3, 1)))
    assert one.classify(queries) == ["only"] * 3


def test_numbers_in_numbers_out(regressor):
    whole, targets = np.array([[1], [2], [3]]), [1.0, 2.0, 3.0]
    expected = regressor.adapt(whole.astype(np.float32), targets).predict(whole.astype(np.float32))
    assert expected.shape == (3, 1) and expected.dtype == np.float32
    for kind in (np.int64, np.float64, np.uint8):
        received = regressor.adapt(whole.astype(kind), targets).predict(whole.astype(kind))
        np.testing.assert_array_equal(received, expected)
    adapted = regressor.adapt(*points(3))
    assert adapted.class_names == () and adapted.predict(points(0)[0]).shape == (0, 1)
    with pytest.raises(ValueError, match="no classes"):
        adapted.classify(points(3)[0])
    for kind in (ArithmeticError, UserError):
        with pytest.raises(kind, match="adaptation diverged"):
            regressor.adapt(*(1e10 * array for array in points(5)), steps=6)


def test_steps(regressor):
    inputs, targets = points(5)
    queries, learner = points(7, seed=1)[0].astype(np.float32), regressor.method.learner

    def after(steps, asked=queries):
        return regressor.adapt(inputs, targets, steps=steps).predict(asked)

    np.testing.assert_allclose(after(0), learner.head(learner.extractor(queries)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after(None), after(1))
    errors = [np.mean((after(steps, inputs) - targets) ** 2) for steps in (0, 1, 5)]
    assert errors[0] > errors[1] > errors[2], "more steps fit the support set better"
    with pytest.raises(ValueError, match="inner steps must be 0 or more, received -1"):
        after(-1)


def test_a_task_stays_what_it_was_while_others_come_and_training_goes_on():
    model, (inputs, targets) = FewShotModel.of(sinusoid_trainer()), points(5)
    task = model.adapt(inputs, targets)
    expected = task.predict(inputs)
    model.adapt(inputs, -targets).predict(inputs)
    for variable in model.method.learner.variables.extractor:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(task.predict(inputs), expected)
    assert not np.allclose(model.adapt(inputs, targets).predict(inputs), expected)


def test_the_summary_counts_psi_theta_and_phi():
    text = FewShotModel.of(sinusoid_trainer(update_rule=MetaSGD(0.01))).summary()
    counts = {line[:24].strip(): int(line[24:].replace(",", "")) for line in text.splitlines()}
    psi, theta, phi = 8 + 8 + 8 * 8 + 8, 8 + 1, 8 * 8 + 8 + 8 + 1
    adapted = {"extractor (psi)": psi, "head (theta)": theta, "adaptation rule": psi + theta}
    total = {"served": 2 * (psi + theta), "trained": 2 * (psi + theta) + phi}
    assert counts == {**adapted, "co_learner (phi)": phi, **total}


def untrained(extractor, example, ways):
    problem = Classification(ways)
    learner = cml_tf.Learner(extractor, keras.layers.Dense(ways), example_inputs=example)
    return FewShotModel.of(cml_tf.Trainer(learner, GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)], problem))


def test_several_inputs_in_any_sequence_or_by_name():
    def two_inputs(example):
        left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
        inputs = {"left": left, "right": right} if isinstance(example, dict) else [left, right]
        joined = keras.layers.Concatenate()([left, right])
        return untrained(keras.Model(inputs, keras.layers.Dense(8)(joined)), example, 3)

    first, second = np.random.default_rng(0).random((6, 4)), np.random.default_rng(1).random((6, 3))
    model = two_inputs([np.zeros((2, 4)), np.zeros((2, 3))])
    expected = model.adapt([first, second], NAMES).predict([first, second])
    np.testing.assert_array_equal(model.adapt((first, second), NAMES).predict((first, second)), expected)
    named = two_inputs({"left": np.zeros((2, 4)), "right": np.zeros((2, 3))})
    task = named.adapt({"right": second, "left": first}, NAMES)
    assert task.predict({"left": first, "right": second}).shape == (6, 3)
    with pytest.raises(ValueError, match=r"a tuple or list .*received \(float64 \[6, 4\]\)"):
        model.adapt([first], NAMES)
    with pytest.raises(ValueError, match="a dictionary {left: .*received {left: .*, write: "):
        task.predict({"left": first, "write": second})


# Of inputs, here is only what the task makes of them: their structures are those of tests/boundary/test_arrays.py.
TWO = ["a", "b"]
BAD_TASKS = {
    "too many classes": (pictures(4), ["a", "b", "c", "d"], "has 3 ways .* received 4: a, b, c, d"),
    "no examples": (pictures(0), [], "support.targets must contain at least one"),
    "a label too few": (pictures(4), ["a", "b", "a"], r"\[tasks, examples\] = \[1, 3\]"),
    "channels first": (np.zeros((2, 1, 16, 16)), TWO, r"received .*\[2, 1, 16, 16\].*channels last"),
    "ragged targets": (pictures(2), [[1], [1, 2]], "targets must be an array whose rows have the same length"),
    "whole soft labels": (pictures(2), np.eye(3, dtype=int)[:2], r"soft ones are floats"),
    "NaN": (np.full((2, *IMAGE_SHAPE), np.nan), TWO, "inputs must be finite"),
    "8-bit values": (np.full((2, *IMAGE_SHAPE), 255, np.uint8), TWO, "divide by 255"),
    "soft labels of another width": (pictures(2), np.eye(4)[:2], "support.targets must be"),
    "soft labels that are NaN": (pictures(2), np.full((2, 3), np.nan), "support.targets must be"),
    **{f"targets {t}": (np.zeros((2, 1)), t, "support.targets must be") for t in ([np.nan, 1.0], ["a", "b"])},
    "targets of three columns": (np.zeros((2, 1)), np.zeros((2, 3)), "support.targets must be"),
}


@pytest.mark.parametrize(("inputs", "targets", "message"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_bad_tasks_are_refused(classifier, regressor, inputs, targets, message):
    with pytest.raises(ValueError, match=message) as refusal:
        (classifier if inputs.ndim > 2 else regressor).adapt(inputs, targets)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_bad_queries_are_refused(task):
    for queries, message in (
        (np.zeros(IMAGE_SHAPE), r"examples of shape \[16, 16, 1\]"),
        (np.full((1, *IMAGE_SHAPE), np.nan), "inputs must be finite"),
        (np.full((1, *IMAGE_SHAPE), 200, np.uint8), "divide by 255"),
    ):
        with pytest.raises(ValueError, match=message):
            task.predict(queries)


def test_numbers_beyond_a_table_are_told_in_one_line():
    extractor = keras.Sequential([keras.layers.Embedding(10, 4), keras.layers.Flatten()])
    model = untrained(extractor, np.zeros((2, 3), "int32"), 2)
    words = np.array([[1, 2, 3], [4, 5, 6]], "int32")
    task = model.adapt(words, TWO)
    for ask in (lambda: task.predict(words + 9), lambda: model.adapt(words + 9, TWO)):
        with pytest.raises(ValueError, match=r"the model cannot .*: .*is not in \[0, 10\)") as error:
            ask()
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)


# ---- nodes of a graph

GRAPH = random_graph()
NODES, OF_NODES = np.array([1, 4, 9, 16]), ["a", "b", "a", "b"]


def node_model(learner) -> FewShotModel:
    randomise(learner, seed=0)
    problem = Classification(2)
    # Numbers of nodes have a range too, which is nothing to hold inputs against.
    method = Method.of(learner, GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)])
    return FewShotModel(method, problem, (0.0, 2.0))


@pytest.fixture(scope="module")
def of_nodes():
    return node_model(gcn(2, 7, (4,))), graph_context(GRAPH, hops=1)


def test_any_whole_numbers_are_nodes(of_nodes, classifier):
    model, context = of_nodes
    expected = model.adapt(NODES.astype(np.int32), OF_NODES, context=context).predict([2, 3, 29])
    assert expected.shape == (3, 2)
    for dtype in (np.int64, np.uint16):
        task = model.adapt(NODES.astype(dtype), OF_NODES, context=context)
        np.testing.assert_array_equal(task.predict(np.array([2, 3, 29], dtype)), expected)
    with pytest.raises(ValueError, match=r"of type GraphContext, received tuple"):
        model.adapt(NODES, OF_NODES)
    with pytest.raises(ValueError, match=r"takes no context, received GraphContext"):
        classifier.adapt(pictures(4), OF_NODES, context=context)


@pytest.mark.parametrize(
    "nodes, message",
    [
        ([1.0, 2.5], "received float64 from 1.0 to 2.5"),
        ([True, False], "received bool"),
        ([1, 2**32 + 1], "received int64 from 1 to 4294967297"),
        ([1, 30], r"in \[0, 30\), .*received 30"),
        ([-1, 2], r"received -1"),
        ([[1], [2]], r"shape \[\], received"),
    ],
)
def test_what_are_no_nodes(of_nodes, nodes, message):
    model, context = of_nodes
    with pytest.raises(ValueError, match=message):
        model.adapt(nodes, TWO, context=context)
    with pytest.raises(ValueError, match=message):
        model.adapt(NODES, OF_NODES, context=context).predict(nodes)


@pytest.mark.parametrize("make", [lambda: gcn(2, 7, (4, 3), "prototypes", True), lambda: sgc(2, 7, 4, hops=3)])
def test_loaded_equals_saved_bit_for_bit(make, tmp_path):
    model = node_model(make())
    model.save(tmp_path / "model")
    loaded = cml_tf.load(tmp_path / "model")
    assert loaded.method.learner.extractor.hops == model.method.learner.extractor.hops
    context = graph_context(GRAPH, model.method.learner.extractor.hops)
    answers = [m.adapt(NODES, OF_NODES, context=context).predict(np.arange(30)) for m in (model, loaded)]
    np.testing.assert_array_equal(*answers)


# ---- models of runs


@pytest.mark.slow
@pytest.mark.parametrize("words", ["cml", "cml,cl"])
def test_a_run_answers_as_it_is_evaluated_its_readouts_differ_and_those_through_the_head_can_be_saved(tmp_path, words):
    (inputs, targets), queries, answers, run = points(3), points(4, seed=1)[0], set(), tmp_path / "run"
    experiment = train_run(waves(words, **{"train.steps": 1}), run, verbose=0)
    for readout in ("learner", "co_learner", "co_learner_theta_adapted"):
        model = cml_tf.load(run, readout)
        answer = model.adapt(inputs, targets).predict(queries)
        answers.add(answer.tobytes())
        if readout == "co_learner_theta_adapted":
            # What is saved answers through the head that adapts; another answer under the same name would be a lie.
            with pytest.raises(ValueError, match="only models that answer through the head that adapted"):
                model.save(tmp_path / readout)
            assert not (tmp_path / readout).exists()
        else:
            model.save(tmp_path / readout)
            again = cml_tf.load(tmp_path / readout).adapt(inputs, targets).predict(queries)
            np.testing.assert_array_equal(again, answer)
    assert len(answers) == 3
    with pytest.raises(ValueError, match="readout must be one of"):
        cml_tf.load(run, "phi")
    if words == "cml":
        with pytest.raises(UserError, match="without a co-learner"):
            cml_tf.load(tmp_path / "learner", "co_learner")
        return
    evaluation = evaluate_run(run, episodes=2, readout=readout)
    (support, query, *_), scores = experiment.episodes("test").batch(0, 2), []
    for number in range(2):
        task = model.adapt(support.inputs[number].numpy(), support.targets[number].numpy())
        scores.append(np.mean((task.predict(query.inputs[number].numpy()) - query.targets[number].numpy()) ** 2))
    np.testing.assert_allclose(scores, evaluation.scores, rtol=1e-5)
    sizes = experiment.config.dataset
    asked = {"shots": sizes.shots, "queries": experiment.config.eval.queries or sizes.queries}
    score = model.evaluate(cml_tf.datasets.load("sinusoid"), 2, seed=experiment.config.eval.seed, **asked)
    np.testing.assert_allclose(score.scores, evaluation.scores, rtol=1e-6)
    assert score.manifest_hash == evaluation.manifest_hash
