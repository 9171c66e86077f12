"""Saving the notebook's model and loading it."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf import Classification, FewShotModel, Learner, Regression, Trainer
from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, MetaSGD, Reverse, boil
from cml_tf.errors import UserError
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.training.checkpoints import CheckpointError
from cml_tf.training.method import Method
from tests.helpers.few_shot import sinusoid_trainer
from tests.helpers.models import embedding, randomise, recurrent
from tests.helpers.small_tasks import points
from tests.helpers.toy_terms import Halved, Tempered


def same_answers(model, other):
    answers = [one.adapt(*points(5)).predict(points(4, seed=1)[0]) for one in (model, other)]
    np.testing.assert_array_equal(*answers)


def own_model(extractor, hypergradient=None):
    problem = Regression(1)
    learner = Learner(extractor, keras.layers.Dense(1), input_shape=(1,))
    randomise(learner, seed=3)
    rule = GradientDescent(problem, SGD(0.05), 2, hypergradient or Reverse())
    return FewShotModel.of(Trainer(learner, rule, [QueryLoss(problem)], problem))


def sequence(*layers):
    return keras.Sequential(layers)


def test_loaded_equals_saved_bit_for_bit(tmp_path):
    trainer = sinusoid_trainer(update_rule=boil(MetaSGD(0.05)))
    for rates in trainer.method.rule.meta_variables:
        rates.assign(rates * np.random.default_rng(0).uniform(0.5, 1.5, rates.shape))
    model = FewShotModel.of(trainer, (-5.0, 5.0))
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


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Dense):
    """A layer of a user's own."""

    def call(self, inputs):
        return 2.0 * super().call(inputs)


class Unregistered(keras.layers.Dense):
    """A layer that Keras cannot find again."""


def functional():
    inputs = keras.Input((1,))
    hidden = keras.layers.Concatenate()([Doubled(4)(inputs), inputs])
    return keras.Model(inputs, keras.layers.Dense(3, activation="tanh")(hidden))


@pytest.mark.parametrize(
    "make",
    [
        lambda: own_model(functional()),
        # A model of first order may have layers whose second derivative TensorFlow has wrong.
        lambda: own_model(sequence(keras.layers.Dense(4), keras.layers.LayerNormalization()), FirstOrder()),
    ],
)
def test_a_model_of_a_users_own_is_saved_and_loaded(tmp_path, make):
    model = make()
    model.save(tmp_path / "model")
    loaded = cml_tf.load(tmp_path / "model")
    same_answers(model, loaded)
    assert loaded.method.rule.steps == 2


def test_layers_that_cannot_be_found_again_and_code_are_refused(tmp_path):
    own_model(sequence(Unregistered(4))).save(tmp_path)
    # Another process does not know the class; here its module is at hand, so its name is spoiled instead.
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace("Unregistered", "Vanished"))
    with pytest.raises(CheckpointError, match="Vanished"):
        cml_tf.load(tmp_path)
    own_model(sequence(keras.layers.Dense(4), keras.layers.Lambda(lambda x: 2 * x))).save(tmp_path)
    with pytest.raises(CheckpointError, match="(?s)cannot be loaded.*Lambda"):
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


def cut_short(name, missing):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-missing])


def other(**values):
    return edited(lambda description: description.update(values))


def other_rule(**values):
    return edited(lambda description: description["rule"]["config"].update(values))


DAMAGE = {
    "cut short": cut_short("model.json", 40),
    "not text": lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00\x01"),
    "a list": lambda folder: (folder / "model.json").write_text("[]"),
    "another format": other(format=99),
    "no format": edited(lambda description: description.pop("format")),
    "no extractor": other(extractor=None),
    "another problem": other(problem={"kind": "clustering"}),
    "steps that are none": other_rule(steps="many"),
    "no rule": other(rule=None),
    "a layer for a rule": edited(lambda description: description.update(rule=description["head"])),
    "another shape": other(input_shape=[2]),
    "a layer for an update rule": edited(
        lambda description: description["rule"]["config"].update(update_rule=description["head"])
    ),
    "a range that is none": other(value_range=[1]),
    "no variables": lambda folder: (folder / "variables.npz").unlink(),
    "variables cut short": cut_short("variables.npz", 30),
    "a run's checkpoint": lambda folder: shutil.copy(_checkpoint_of_another(folder), folder / "variables.npz"),
}


def _checkpoint_of_another(folder):
    FewShotModel.of(sinusoid_trainer(update_rule=MetaSGD(0.05))).save(folder / "other")
    return folder / "other" / "variables.npz"


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_models_are_refused(saved, damage):
    damage(saved)
    with pytest.raises(CheckpointError):
        cml_tf.load(saved)


def test_files_of_two_models_are_refused(saved, monkeypatch):
    """Killed between its files, saving leaves the description of the model before."""
    before = (saved / "model.json").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cml_tf.models.model_files.write_json", killed)
    model = cml_tf.load(saved)
    randomise(model.method.learner, seed=5)
    with pytest.raises(KeyboardInterrupt):
        model.save(saved)
    assert (saved / "model.json").read_bytes() == before
    with pytest.raises(CheckpointError, match="was not saved together with .*model.json: saving was interrupted"):
        cml_tf.load(saved)


def test_models_of_format_1_load(saved):
    """There was gradient descent alone, and its parts stood in the description itself."""
    expected = cml_tf.load(saved)

    def as_before(description):
        rule = description.pop("rule")["config"]
        del description["variables_sha256"]
        description.update(
            {name: rule[name] for name in ("update_rule", "steps", "sharpness", "second_order")}, format=1
        )

    edited(as_before)(saved)
    same_answers(expected, cml_tf.load(saved))


@pytest.mark.parametrize("answer", [Tempered, Halved])
def test_what_would_answer_otherwise_when_loaded_is_refused(tmp_path, answer):
    """A temperature that is 1 now may be another one in what is saved next; half an output is no output."""
    learner, problem = mlp(1, (1,), hidden=(4,)), Regression(1)
    method = Method.of(learner, GradientDescent(problem, SGD(0.05)), [answer(problem)])
    with pytest.raises(UserError, match=f"outputs of their head, as they are, .*{answer.__name__}.* Load its run"):
        FewShotModel(method, problem).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_nothing_to_load(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="contains neither a run nor a saved model"):
            cml_tf.load(path)


def normalised_by_adapt():
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 3)))
    body = keras.Sequential([layer, keras.layers.Dense(4, activation="tanh")])
    return Learner(body, keras.layers.Dense(3), input_shape=(3,))


READ_ANEW = {"tokens": embedding, "series": recurrent, "statistics of adapt": normalised_by_adapt}


@pytest.mark.parametrize("kind", READ_ANEW)
def test_tables_series_and_constants_adapt_and_come_back(tmp_path, kind):
    keras.utils.set_random_seed(0)
    learner, problem = READ_ANEW[kind](), Classification(3)
    model = FewShotModel.of(Trainer(learner, GradientDescent(problem, SGD(0.5)), [QueryLoss(problem)], problem))
    generator = np.random.default_rng(1)
    shape, whole = learner.example_inputs.shape[1:], learner.example_inputs.dtype == np.int32
    inputs, queries = (
        generator.integers(0, 5, (count, *shape)) if whole else generator.standard_normal((count, *shape))
        for count in (6, 4)
    )
    task = model.adapt(inputs, list("aabbcc"))
    unadapted = tf.nn.softmax(learner.head(learner.extractor(tf.cast(queries, learner.example_inputs.dtype))))
    assert not np.allclose(task.predict(queries), unadapted)
    assert len(task.packed()) == sum(int(np.prod(v.shape)) for group in learner.variables for v in group)
    model.save(tmp_path / "model")
    loaded = cml_tf.load(tmp_path / "model")
    np.testing.assert_allclose(
        loaded.adapt(inputs, list("aabbcc")).predict(queries), task.predict(queries), rtol=1e-5, atol=1e-6
    )
    if whole:
        with pytest.raises(ValueError, match=r"inputs must be whole numbers \(int32\)"):
            loaded.adapt(inputs + 0.5, list("aabbcc"))
