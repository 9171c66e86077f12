"""The notebook's model: load, adapt, predict, save; NumPy in and out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf import Classification, FewShotModel, Learner, Regression, Trainer
from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, anil, boil
from cml_tf.checkpoints import CheckpointError
from cml_tf.evaluator import Evaluator
from cml_tf.experiments import presets
from cml_tf.experiments.runs import evaluate_run, train_run
from cml_tf.learners.learner import count_parameters
from cml_tf.objectives import QueryLoss
from tests.helpers.few_shot import IMAGE_SHAPE, image_trainer, sinusoid_trainer
from tests.helpers.models import randomise

NAMES = ["beta", "alpha", "gamma", "beta", "alpha", "gamma"]


def pictures(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (count, *IMAGE_SHAPE))


def points(count, seed=0):
    inputs = np.random.default_rng(seed).uniform(-5, 5, (count, 1))
    return inputs, np.sin(inputs)


@pytest.fixture(scope="module")
def classifier():
    return image_trainer(ways=3).model((0.0, 1.0))


@pytest.fixture(scope="module")
def regressor():
    return sinusoid_trainer().model()


@pytest.fixture(scope="module")
def task(classifier):
    return classifier.adapt(pictures(6), NAMES)


# Adapting and predicting.


def test_names_in_probabilities_out(task):
    assert task.class_names == ("alpha", "beta", "gamma")
    probabilities = task.predict(pictures(5, seed=1))
    assert isinstance(probabilities, np.ndarray) and probabilities.shape == (5, 3)
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    expected = [task.class_names[column] for column in probabilities.argmax(-1)]
    assert task.classify(pictures(5, seed=1)) == expected


def test_it_is_what_evaluation_computes(regressor):
    """The model of a notebook and the evaluator make one and the same adaptation."""
    inputs, targets = points(5)
    queries, truth = points(7, seed=1)
    predictions = regressor.adapt(inputs, targets).predict(queries)
    episode = cml_tf.Episode(
        *(
            cml_tf.Examples(*(tf.constant(a[None], tf.float32) for a in pair))
            for pair in ((inputs, targets), (queries, truth))
        )
    )
    scores = Evaluator(regressor.method, "mse").metrics([episode], 1)["mse"]
    assert np.mean((predictions - truth) ** 2) == pytest.approx(scores[0], rel=1e-5)


def test_labels_may_be_anything_that_can_be_told_apart(classifier):
    images, queries = pictures(6), pictures(4, seed=1)
    expected = classifier.adapt(images, [1, 0, 2, 1, 0, 2]).predict(queries)
    for labels in (NAMES, np.array(NAMES), [20, -3, 400, 20, -3, 400], np.array([1, 0, 2, 1, 0, 2], np.uint8)):
        np.testing.assert_array_equal(classifier.adapt(images, labels).predict(queries), expected)
    assert classifier.adapt(images, [20, -3, 400, 20, -3, 400]).class_names == ("-3", "20", "400")


def test_soft_labels_equal_hard_ones(classifier):
    images, queries = pictures(6), pictures(4, seed=1)
    labels = np.array([1, 0, 2, 1, 0, 2])
    soft = classifier.adapt(images, np.eye(3)[labels])
    np.testing.assert_allclose(soft.predict(queries), classifier.adapt(images, labels).predict(queries), rtol=1e-4)
    assert soft.class_names == ("0", "1", "2")


def test_fewer_classes_than_ways(classifier):
    """The unused column is dropped, the rest is renormalised."""
    images, queries = pictures(4), pictures(3, seed=1)
    two = classifier.adapt(images, ["b", "a", "b", "a"])
    assert two.class_names == ("a", "b")
    probabilities = two.predict(queries)
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    # Soft labels name all columns, so the same adaptation can be seen in full.
    full = classifier.adapt(images, np.eye(3)[[1, 0, 1, 0]]).predict(queries)
    np.testing.assert_allclose(probabilities, full[:, :2] / full[:, :2].sum(-1, keepdims=True), rtol=1e-4)
    one = classifier.adapt(images[:1], ["only"])
    np.testing.assert_array_equal(one.predict(queries), np.ones((3, 1)))
    assert one.classify(queries) == ["only"] * 3


def test_float64_and_integer_inputs_are_taken(regressor):
    inputs, targets = np.array([[1], [2], [3]]), [1.0, 2.0, 3.0]
    expected = regressor.adapt(inputs.astype(np.float32), targets).predict(inputs.astype(np.float32))
    for kind in (np.int64, np.float64, np.uint8):
        np.testing.assert_array_equal(
            regressor.adapt(inputs.astype(kind), targets).predict(inputs.astype(kind)), expected
        )
    assert expected.shape == (3, 1) and expected.dtype == np.float32


def test_steps(regressor):
    inputs, targets = points(5)
    queries = points(7, seed=1)[0]
    unadapted = regressor.adapt(inputs, targets, steps=0)
    learner = regressor.method.learner
    np.testing.assert_allclose(
        unadapted.predict(queries), learner.head(learner.extractor(queries.astype(np.float32))), rtol=1e-5, atol=1e-6
    )
    default, one, five = (regressor.adapt(inputs, targets, steps=steps).predict(queries) for steps in (None, 1, 5))
    np.testing.assert_array_equal(default, one)
    assert not np.allclose(one, five) and not np.allclose(one, unadapted.predict(queries))
    with pytest.raises(ValueError, match="inner steps must be 0 or more, received -1"):
        regressor.adapt(inputs, targets, steps=-1)


def test_more_steps_fit_the_support_set_better(regressor):
    inputs, targets = points(5)
    errors = [
        np.mean((regressor.adapt(inputs, targets, steps=steps).predict(inputs) - targets) ** 2) for steps in (0, 1, 20)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_tasks_do_not_disturb_each_other(regressor):
    inputs, targets = points(5)
    queries = points(7, seed=1)[0]
    first = regressor.adapt(inputs, targets)
    expected = first.predict(queries)
    regressor.adapt(inputs, -targets).predict(queries)
    np.testing.assert_array_equal(first.predict(queries), expected)


def test_a_task_stays_what_it_was_while_training_goes_on():
    trainer = sinusoid_trainer()
    model, (inputs, targets) = trainer.model(), points(5)
    task = model.adapt(inputs, targets)
    expected = task.predict(inputs)
    for variable in model.method.learner.variables.extractor:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(task.predict(inputs), expected)
    assert not np.allclose(model.adapt(inputs, targets).predict(inputs), expected)


def test_packed_is_one_flat_vector(task, classifier):
    packed = task.packed()
    assert packed.dtype == np.float32
    assert packed.shape == (count_parameters(classifier.method.learner.variables),)


# What is refused.


BAD_TASKS = {
    "too many classes": (pictures(4), ["a", "b", "c", "d"], "at most 3 classes apart .* received 4: a, b, c, d"),
    "no examples": (pictures(0), [], "support.targets must hold at least one"),
    "a label too few": (pictures(4), ["a", "b", "a"], r"\[tasks, examples\] = \[1, 3\]"),
    "one image, not a list of them": (
        pictures(1)[0],
        ["a"],
        r"examples of shape \[16, 16, 1\], received .* \[16, 16, 1\]",
    ),
    "another size": (np.zeros((2, 20, 20, 1)), ["a", "b"], r"examples of shape \[16, 16, 1\], received"),
    "no channels": (np.zeros((2, 16, 16)), ["a", "b"], r"examples of shape \[16, 16, 1\], received"),
    "words": (np.array([["x"], ["y"]]), ["a", "b"], "inputs must be numbers"),
    "NaN": (np.full((2, *IMAGE_SHAPE), np.nan), ["a", "b"], "inputs must be finite"),
    "infinite": (np.full((2, *IMAGE_SHAPE), np.inf), ["a", "b"], "inputs must be finite"),
    "8-bit values": (np.full((2, *IMAGE_SHAPE), 255, np.uint8), ["a", "b"], "divide by 255"),
    "soft labels of another width": (pictures(2), np.eye(4)[:2], "support.targets must be"),
    "soft labels that are NaN": (pictures(2), np.full((2, 3), np.nan), "support.targets must be"),
}


@pytest.mark.parametrize(("inputs", "targets", "message"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_bad_tasks_are_refused(classifier, inputs, targets, message):
    with pytest.raises(ValueError, match=message):
        classifier.adapt(inputs, targets)


@pytest.mark.parametrize("targets", [[np.nan, 1.0], np.zeros((2, 3)), ["a", "b"], np.zeros((2, 1, 1))])
def test_bad_regression_targets_are_refused(regressor, targets):
    with pytest.raises(ValueError, match="support.targets must be"):
        regressor.adapt(np.zeros((2, 1)), targets)


BAD_QUERIES = {
    "another size": (np.zeros((2, 20, 20, 1)), r"examples of shape \[16, 16, 1\]"),
    "one image": (np.zeros(IMAGE_SHAPE), r"examples of shape \[16, 16, 1\]"),
    "NaN": (np.full((1, *IMAGE_SHAPE), np.nan), "inputs must be finite"),
    "8-bit values": (np.full((1, *IMAGE_SHAPE), 200, np.uint8), "divide by 255"),
    "a dictionary": ({"image": np.zeros((1, *IMAGE_SHAPE))}, "inputs must be numbers"),
}


@pytest.mark.parametrize(("queries", "message"), BAD_QUERIES.values(), ids=BAD_QUERIES)
def test_bad_queries_are_refused(task, queries, message):
    with pytest.raises(ValueError, match=message):
        task.predict(queries)


def test_a_regressor_has_no_classes(regressor):
    inputs, targets = points(3)
    adapted = regressor.adapt(inputs, targets)
    assert adapted.class_names == ()
    with pytest.raises(ValueError, match="a regression model has no classes"):
        adapted.classify(inputs)


def test_adaptation_that_diverges_is_said(regressor):
    with pytest.raises(ArithmeticError, match="adaptation diverged"):
        regressor.adapt(*(1e3 * array for array in points(5)), steps=60)


# The summary.


def test_the_summary_counts_psi_theta_and_phi(capsys):
    trainer = sinusoid_trainer(update_rule=MetaSGD(0.01))
    text = trainer.model().summary()
    assert capsys.readouterr().out == text + "\n"
    counts = {line[:24].strip(): int(line[24:].replace(",", "")) for line in text.splitlines()}
    psi, theta, phi = 8 + 8 + 8 * 8 + 8, 8 + 1, 8 * 8 + 8 + 8 + 1
    assert counts == {
        "extractor (psi)": psi,
        "head (theta)": theta,
        "adaptation rule": psi + theta,
        "co_learner (phi)": phi,
        "served": 2 * (psi + theta),
        "trained": 2 * (psi + theta) + phi,
    }


# Saving and loading.


def same_answers(model, other, classification=False):
    inputs, targets = (pictures(6), NAMES) if classification else points(5)
    queries = pictures(4, seed=1) if classification else points(4, seed=1)[0]
    np.testing.assert_array_equal(
        other.adapt(inputs, targets).predict(queries), model.adapt(inputs, targets).predict(queries)
    )


RULES = {
    "sgd": lambda: SGD(0.05),
    "meta_sgd": lambda: MetaSGD(0.05),
    "anil": lambda: anil(SGD(0.05)),
    "boil_meta_sgd": lambda: boil(MetaSGD(0.05)),
}


@pytest.mark.parametrize("rule", RULES)
def test_loaded_equals_saved_bit_for_bit(tmp_path, rule):
    trainer = sinusoid_trainer(update_rule=RULES[rule]())
    for rates in trainer.method.rule.meta_variables:
        rates.assign(rates * np.random.default_rng(0).uniform(0.5, 1.5, rates.shape))
    model = trainer.model((-5.0, 5.0))
    model.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "variables.npz"]
    loaded = cml_tf.load(tmp_path / "model")
    same_answers(model, loaded)
    assert loaded.value_range == (-5.0, 5.0)
    with np.load(tmp_path / "model" / "variables.npz") as archive:
        assert not any("co_learner" in name or "optimizer" in name for name in archive.files), "phi stays behind"
    loaded.save(tmp_path / "again")
    for name in ("model.json", "variables.npz"):
        assert (tmp_path / "again" / name).stat().st_size == (tmp_path / "model" / name).stat().st_size


def test_an_image_model_survives_too(tmp_path, classifier):
    classifier.save(tmp_path / "model")
    loaded = cml_tf.load(str(tmp_path / "model"))
    same_answers(classifier, loaded, classification=True)
    assert loaded.problem == Classification(3)
    with pytest.raises(ValueError, match="divide by 255"):
        loaded.adapt(pictures(2) * 255, ["a", "b"])


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    """A layer of a user's own."""

    def __init__(self, units, **arguments):
        super().__init__(**arguments)
        self.units = units
        self.inner = keras.layers.Dense(units, activation="tanh")

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, inputs):
        return 2.0 * self.inner(inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Unregistered(keras.layers.Dense):
    """A layer that Keras cannot find again."""


def own_model(extractor):
    problem = Regression(1)
    learner = Learner(extractor, keras.layers.Dense(1), input_shape=(1,))
    randomise(learner, seed=3)
    trainer = Trainer(learner, GradientDescent(problem, SGD(0.05), 2), [QueryLoss(problem)], problem)
    return FewShotModel(trainer.method, problem)


def test_a_model_of_a_users_own_is_trained_saved_and_loaded(tmp_path):
    inputs = keras.Input((1,))
    hidden = keras.layers.Concatenate()([Doubled(4)(inputs), inputs])
    model = own_model(keras.Model(inputs, keras.layers.Dense(3, activation="tanh")(hidden)))
    model.save(tmp_path)
    loaded = cml_tf.load(tmp_path)
    same_answers(model, loaded)
    assert loaded.method.rule.steps == 2


def test_a_layer_that_cannot_be_found_again_is_named(tmp_path):
    own_model(keras.Sequential([Unregistered(4)])).save(tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    # Another process does not know the class; here its module is at hand, so its name is spoiled instead.
    text = json.dumps(description).replace("Unregistered", "Vanished")
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match="Vanished"):
        cml_tf.load(tmp_path)


def test_code_in_a_saved_model_is_not_run(tmp_path):
    own_model(keras.Sequential([keras.layers.Dense(4), keras.layers.Lambda(lambda x: 2 * x)])).save(tmp_path)
    with pytest.raises(CheckpointError, match="(?s)cannot be rebuilt.*Lambda"):
        cml_tf.load(tmp_path)


@pytest.fixture
def saved(tmp_path, regressor):
    regressor.save(tmp_path / "model")
    return tmp_path / "model"


def edited(change):
    def edit(folder):
        description = json.loads((folder / "model.json").read_text())
        change(description)
        (folder / "model.json").write_text(json.dumps(description))

    return edit


DAMAGE = {
    "cut short": lambda folder: (folder / "model.json").write_text((folder / "model.json").read_text()[:-40]),
    "empty": lambda folder: (folder / "model.json").write_text(""),
    "not text": lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00\x01"),
    "a list": lambda folder: (folder / "model.json").write_text("[]"),
    "another format": edited(lambda description: description.update(format=99)),
    "no format": edited(lambda description: description.pop("format")),
    "no extractor": edited(lambda description: description.update(extractor=None)),
    "no head": edited(lambda description: description.pop("head")),
    "another problem": edited(lambda description: description.update(problem={"kind": "clustering"})),
    "a problem that is none": edited(lambda description: description.update(problem="regression")),
    "steps that are none": edited(lambda description: description.update(steps="many")),
    "negative steps": edited(lambda description: description.update(steps=-1)),
    "another shape": edited(lambda description: description.update(input_shape=[2])),
    "a shape that is none": edited(lambda description: description.update(input_shape=None)),
    "no update rule": edited(lambda description: description.update(update_rule=None)),
    "a layer for an update rule": edited(lambda description: description.update(update_rule=description["head"])),
    "a range that is none": edited(lambda description: description.update(value_range=[1])),
    "no variables": lambda folder: (folder / "variables.npz").unlink(),
    "variables cut short": lambda folder: (folder / "variables.npz").write_bytes(
        (folder / "variables.npz").read_bytes()[:-30]
    ),
    "a run's checkpoint": lambda folder: shutil.copy(_checkpoint_of_another(folder), folder / "variables.npz"),
}


def _checkpoint_of_another(folder):
    image_trainer().model().save(folder / "other")
    return folder / "other" / "variables.npz"


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_models_are_refused(saved, damage):
    damage(saved)
    with pytest.raises(CheckpointError):
        cml_tf.load(saved)


def test_nothing_to_load(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="holds neither a run nor a saved model"):
            cml_tf.load(path)


# Models of runs.


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, variant in (("cml", "smoke"), ("cl", "smoke,cl")):
        config = presets.sinusoid(shots=3, method="cml", variant=variant)
        config.learner.hidden = (4,)
        config.train.update({"meta_batch": 1, "steps": 2})
        train_run(config, folder / name, verbose=0)
    return folder


@pytest.mark.parametrize("run", ["cml", "cl"])
def test_readouts_of_a_run(runs, tmp_path, run):
    inputs, targets = points(3)
    queries = points(4, seed=1)[0]
    answers = {}
    for readout in ("learner", "co_learner", "co_learner_theta_adapted"):
        model = cml_tf.load(runs / run, readout)
        answers[readout] = model.adapt(inputs, targets).predict(queries)
        if readout == "co_learner_theta_adapted":
            continue
        model.save(tmp_path / readout)
        np.testing.assert_array_equal(
            cml_tf.load(tmp_path / readout).adapt(inputs, targets).predict(queries), answers[readout]
        )
    different = {answer.tobytes() for answer in answers.values()}
    assert len(different) == 3


def test_a_readout_that_cannot_be_saved_says_so(runs, tmp_path):
    """What is saved answers through the head that adapts; another answer under the same name would be a lie."""
    for run in ("cml", "cl"):
        with pytest.raises(ValueError, match="only models that answer through the head that adapted"):
            cml_tf.load(runs / run, "co_learner_theta_adapted").save(tmp_path / run)
        assert not (tmp_path / run).exists()


def test_a_saved_model_has_no_co_learner(runs, tmp_path):
    cml_tf.load(runs / "cml").save(tmp_path)
    with pytest.raises(ValueError, match="without a co-learner"):
        cml_tf.load(tmp_path, "co_learner")
    with pytest.raises(ValueError, match="readout must be one of"):
        cml_tf.load(runs / "cml", "phi")


def test_a_run_answers_as_it_is_evaluated(runs):
    model = cml_tf.load(runs / "cml")
    evaluation = evaluate_run(runs / "cml", episodes=2)
    (support, query, _), scores = _test_episodes(runs / "cml"), []
    for number in range(2):
        task = model.adapt(support.inputs[number].numpy(), support.targets[number].numpy())
        scores.append(np.mean((task.predict(query.inputs[number].numpy()) - query.targets[number].numpy()) ** 2))
    np.testing.assert_allclose(scores, evaluation.scores, rtol=1e-5)


def _test_episodes(workdir: Path):
    return cml_tf.experiments.runs.load_run(workdir).episodes("test").batch(0, 2)
