"""The ten lines of a notebook: recipe, fit, evaluate, adapt, predict, save, load."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cml_tf
from cml_tf.datasets import NodeDataset
from cml_tf.errors import UserError
from cml_tf.learners import Convolution, Normalisation
from cml_tf.models import Score
from cml_tf.training.evaluator import compare
from export.graph.exportable import Exportable
from tests.helpers.few_shot import IMAGE_SHAPE, drawings
from tests.helpers.random_graphs import random_graph
from tests.helpers.small_tasks import NAMES, pictures

SILENT = {"validation_episodes": 0, "verbose": 0}


def small(learner=None, method=None, **arguments) -> cml_tf.FewShot:
    settings = {"ways": 3, "shots": 1, "queries": 2, **arguments}
    method = method or cml_tf.cml(rate=0.1, first_order=True)
    return cml_tf.FewShot(learner or cml_tf.mlp(hidden=(4,)), method, **settings)


def linear(outputs: int) -> cml_tf.Learner:
    return cml_tf.Learner(keras.layers.Flatten(), keras.layers.Dense(outputs), input_shape=IMAGE_SHAPE)


@pytest.fixture(scope="module")
def images():
    return drawings()


@pytest.fixture(scope="module")
def fitted(images):
    """A model, and what callbacks saw of its epochs."""
    model, seen = small(), []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
    model.fit(images, steps=2, validation_episodes=2, validate_every=1, callbacks=[watch], verbose=0)
    return model, seen, list(model.trainer.state()[0].values())


def test_the_lines_of_the_readme(tmp_path, monkeypatch, capsys):
    """As they stand there, with fewer steps and episodes, and of first order."""
    monkeypatch.chdir(tmp_path)
    letters = cml_tf.datasets.load("glyphs")
    model = cml_tf.FewShot(cml_tf.conv4(), cml_tf.cml(rate=0.4, first_order=True), ways=5, shots=1)
    model.fit(letters, steps=1, meta_batch=1, validation_episodes=0)
    model.evaluate(letters, episodes=2)
    images = np.random.default_rng(0).random((5, 28, 28, 1))
    task = model.adapt(images, ["alef", "bet", "gimel", "dalet", "he"])
    model.save("letters")
    assert task.predict(images[:2]).shape == (2, 5)
    assert task.class_names == ("alef", "bet", "dalet", "gimel", "he")
    assert str(cml_tf.load("letters").summary()).splitlines()[:2] == str(model.summary()).splitlines()[:2]
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_a_second_fit_goes_on(images, fitted):
    apart = small()
    for _ in range(2):
        history = apart.fit(images, steps=1, **SILENT)
    assert apart.trainer.step == 2 and set(history) >= {"accuracy", "loss", "co_loss"}
    for one, other in zip(apart.trainer.state()[0].values(), fitted[2], strict=True):
        # Two models of one process need not agree in the last bit.
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


class Stopping(keras.callbacks.Callback):
    """Ends a training at its first epoch's end."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def test_a_fit_goes_on_after_a_callback_ended_the_last_one(images):
    model = small()
    model.fit(images, steps=3, validate_every=1, callbacks=[Stopping()], **SILENT)
    assert model.trainer.stopped and model.trainer.step == 1
    model.fit(images, steps=2, **SILENT)
    assert not model.trainer.stopped and model.trainer.step == 3


def test_a_fit_validates_and_calls_its_callbacks(fitted, capsys):
    model, seen, _ = fitted
    assert len(seen) == 2 and {"val_accuracy", "val_co_loss"} <= set(seen[0])
    text = model.summary()
    assert repr(text) == str(text) and "co_learner (phi)" in text, "as a notebook shows it"
    assert capsys.readouterr().out == ""


def test_a_score_is_that_of_its_answers_and_tells_mean_interval_episodes_and_seed(fitted, images):
    model = fitted[0]
    score, unadapted = (model.evaluate(images, episodes=4, seed=3, steps=steps) for steps in (None, 0))
    told = f"accuracy {100 * score.mean:.1f} % ± {100 * score.ci95:.1f} % "
    assert repr(score) == str(score) == told + "(95 % interval over 4 test episodes, 3-way 1-shot, seed 3)"
    assert compare(score, unadapted).mean == pytest.approx(score.mean - unadapted.mean)
    support, query = images.episodes("test", ways=3, shots=1, queries=2, seed=3).batch(0, 4)[:2]
    for number, expected in enumerate(score.scores):
        task = model.adapt(support.inputs[number], support.targets[number])
        found = task.predict(query.inputs[number]).argmax(-1)
        assert np.mean(found == query.targets[number].numpy()) == pytest.approx(expected)


def test_a_saved_model_is_scored_as_it_was(fitted, images, tmp_path):
    model = fitted[0]
    model.save(tmp_path / "model")
    score = cml_tf.load(tmp_path / "model").evaluate(images, episodes=4, shots=1, queries=2, seed=3)
    expected = model.evaluate(images, episodes=4, seed=3)
    assert str(score) == str(expected) and score.manifest_hash == expected.manifest_hash
    np.testing.assert_array_equal(score.scores, expected.scores)


def test_a_learner_of_ones_own(images):
    def make(outputs):
        return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(outputs)])

    learner = linear(3)
    model = small(learner, cml_tf.cml(rate=0.1, co_learner=make))
    model.fit(images, steps=1, **SILENT)
    assert model.adapt(pictures(6), NAMES).predict(pictures(2)).shape == (2, 3)
    assert model.trainer.method.learner is learner and len(model.trainer.method.terms) == 2


@pytest.mark.slow
def test_rules_look_at_a_learner_of_ones_own_and_not_at_keys_that_it_has_not(images):
    def own(*blocks):
        body = keras.Sequential([*blocks, keras.layers.Flatten()])
        return small(cml_tf.Learner(body, keras.layers.Dense(3), input_shape=IMAGE_SHAPE), scaling)

    scaling = cml_tf.method_of("context_scaling", steps=1, rate=0.01)
    own(Convolution(4, 3), Normalisation()).fit(images, steps=1, **SILENT)
    with pytest.raises(UserError, match="normalis") as refusal:
        own(Convolution(4, 3)).fit(images, steps=1, **SILENT)
    assert "learner.name" not in str(refusal.value)


@pytest.mark.slow
def test_nodes_of_a_graph():
    dataset = NodeDataset.from_graph("random", random_graph(), normalise_features=False)
    model = cml_tf.FewShot(
        cml_tf.sgc(hidden=4, hops=3), cml_tf.maml(rate=0.1, first_order=True), ways=2, shots=1, queries=1
    )
    model.fit(dataset, steps=1, **SILENT)
    assert model.evaluate(dataset, episodes=2).episodes == 2
    assert model.adapt([1, 4, 9], ["a", "b", "a"]).predict([2, 3]).shape == (2, 2)
    alone = model.adapt([1, 4, 9], ["a", "b", "a"]).predict([2, 3])
    another = NodeDataset.from_graph("another", random_graph(seed=5), normalise_features=False)
    model.evaluate(another, episodes=2)
    model.calibrate(another, open_set=None, episodes=4)
    np.testing.assert_array_equal(model.adapt([1, 4, 9], ["a", "b", "a"]).predict([2, 3]), alone)
    with pytest.raises(UserError, match=r"nodes of 7 features, received 'other' with nodes of 5"):
        model.evaluate(NodeDataset.from_graph("other", random_graph(features=5)), episodes=2)


def test_scores_of_waves_have_no_ways():
    task = small(ways=None).sizes.told()
    score = Score("mse", np.array([1.0, 2.0]), seed=0, manifest_hash="", averages={}, task=task)
    assert str(score) == "mse 1.5 ± 6.4 (95 % interval over 2 test episodes, 1-shot, seed 0)"


@pytest.mark.slow
def test_a_model_of_any_size_is_trained_and_scored_on_many(images):
    method = cml_tf.method_of("first_order", class_rows="prototypes", rate=0.005)
    model = small(method=method, ways=2, ways_range=(2, 4), shots_range=(1, 3))
    model.fit(images, steps=1, **SILENT)
    classes = model.sizes.training(images, 0).batch(0, 20).classes.numpy()
    assert set(np.sum(classes >= 0, 1)) == {2, 3, 4} and model.sizes.told() == "2-way 1-shot"
    assert "3-way 2-shot" in str(model.evaluate(images, episodes=2, ways=3, shots=2))
    assert model.adapt(pictures(6), NAMES).predict(pictures(2)).shape == (2, len(set(NAMES)))
    with pytest.raises(UserError, match="ways must be 4 for this model, received 5"):
        model.evaluate(images, episodes=2, ways=5)


@pytest.mark.slow
def test_a_confidence_is_fitted_for_the_weights_of_now(fitted, images):
    model = fitted[0]
    confidence = model.calibrate(images, episodes=4)
    assert [knot.shots for knot in confidence.knots] == [1] and confidence.ways == 3
    assert confidence.open_set is not None and confidence.steps == int(model.model.method.rule.steps)
    Exportable(model.model.method, model.model.problem, (0.0, 1.0), confidence=confidence)
    plain = model.calibrate(images, shots=(2,), open_set=None, episodes=4)
    assert plain.open_set is None and [knot.shots for knot in plain.knots] == [2]
    head = model.trainer.method.learner.variables.head[0]
    head.assign(head + 1.0)
    with pytest.raises(UserError, match="must be of this very model"):
        Exportable(model.model.method, model.model.problem, (0.0, 1.0), confidence=confidence)


def test_sizes_may_be_numbers_of_numpy(images):
    model = small(
        linear(2), cml_tf.maml(0.1, first_order=True), ways=np.int64(2), shots=np.int32(1), queries=np.int8(2)
    )
    model.fit(images, steps=1, meta_batch=1, **SILENT)
    assert type(model.model.problem.ways) is int and type(model.sizes.shots) is int
    ranged = small(ways_range=np.array([2, 4])).sizes
    assert ranged.ways_range == (2, 4) and type(ranged.problem.ways) is int


FIRST = r"call fit\(dataset"
REFUSED = {
    "adapt before fit": (lambda: small().adapt(pictures(6), NAMES), FIRST),
    "evaluate before fit": (lambda: small().evaluate(drawings()), FIRST),
    "save before fit": (lambda: small().save("nowhere"), FIRST),
    "summary before fit": (lambda: small().summary(), FIRST),
    "a builder": (lambda: small(cml_tf.conv4), "received conv4"),
    "a layer": (lambda: small(keras.layers.Dense(3)), r"received Dense: .*Learner\(extractor"),
    "a name": (lambda: small(method="cml"), "the method must be .* received str"),
    "no shots": (lambda: small(shots=0), "shots must be an integer of at least 1"),
    "one way": (lambda: small(ways=1), "ways must be an integer of at least 2"),
    "waves": (lambda: small().fit(cml_tf.datasets.load("sinusoid")), "'sinusoid', which is regression"),
    "no waves": (lambda: small(ways=None).fit(drawings()), "which is classification"),
    "a range of waves": (lambda: small(ways=None, shots_range=(1, 2)), "one size: leave out ways_range"),
    "a range that ends below": (lambda: small(ways_range=(2, 2)), "ways must be at most 2, the most of ways_range"),
    "a range upside down": (lambda: small(shots_range=(3, 1)), "swap them"),
    "rows of their own": (lambda: small(ways_range=(2, 4)).fit(drawings()), "class rows that begin alike"),
    "many ways": (lambda: small(ways=7).fit(drawings()), "ways must be at most 6"),
    "many shots": (lambda: small(shots=9).fit(drawings()), r"shots \+ queries must be at most 5"),
    "a folder": (lambda: small().fit("photos"), r"datasets.load\(name\).*received str"),
    "no steps": (lambda: small().fit(drawings(), steps=0), "steps must be an integer of at least 1"),
    "a mode": (lambda: small(cml_tf.conv4(normalisation="running")).fit(drawings()), "normalisation must be one of"),
    "no nodes": (lambda: small(cml_tf.gcn()).fit(drawings()), "gcn cannot read the examples of 'drawings'"),
    "no co-learner": (lambda: small(linear(3)).fit(drawings()), r"co_learner=make"),
    "another head": (lambda: small(linear(4), cml_tf.maml(1.0)).fit(drawings()), r"\[examples, 3\]"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call, message):
    with pytest.raises(UserError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)


REFUSED_OF_A_FITTED = {
    "episodes must be an integer of at least 2": lambda model: model.evaluate(drawings(), episodes=1),
    "must be one of train, validation, test, received 'tests'": lambda model: model.evaluate(drawings(), split="tests"),
    "shots must be an integer of at least 1": lambda model: model.evaluate(drawings(), shots=0),
    "ways must be an integer of at least 2": lambda model: model.evaluate(drawings(), ways=0),
    "ways must be 3 for this model, received 2": lambda model: model.evaluate(drawings(), ways=2),
    "inner steps must be 0 or more": lambda model: model.evaluate(drawings(), steps=-1),
    r"arrays of shape \[16, 16, 1\], received": lambda model: model.evaluate(cml_tf.datasets.load("glyphs")),
    "has 3 ways .*received 4": lambda model: model.adapt(pictures(4), ["a", "b", "c", "d"]),
    "add a channel axis": lambda model: model.adapt(pictures(6)[..., 0], NAMES),
}


@pytest.mark.parametrize("message", REFUSED_OF_A_FITTED)
def test_what_a_fitted_model_refuses(fitted, message):
    with pytest.raises(UserError, match=message):
        REFUSED_OF_A_FITTED[message](fitted[0])
