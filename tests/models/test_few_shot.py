"""The ten lines of a notebook: recipe, fit, evaluate, adapt, predict, save, load."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cml_tf
from cml_tf.datasets import NodeDataset
from cml_tf.errors import UserError
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
    return model, seen


def test_the_lines_of_the_readme(tmp_path, monkeypatch, capsys):
    """As they stand there, with fewer steps and episodes."""
    monkeypatch.chdir(tmp_path)
    letters = cml_tf.datasets.load("glyphs")
    model = cml_tf.FewShot(cml_tf.conv4(), cml_tf.cml(rate=0.4), ways=5, shots=1)
    model.fit(letters, steps=1, validation_episodes=0)
    model.evaluate(letters, episodes=2)
    episode = letters.episodes("test", ways=5, shots=1, queries=3, seed=0).batch(0, 1)
    images, questions = episode.support.inputs[0].numpy(), episode.query.inputs[0].numpy()
    names = ["alef", "bet", "gimel", "dalet", "he"]
    task = model.adapt(images, names)
    answer = task.predict(questions)
    model.save("letters")
    assert answer.shape == (15, 5) and task.class_names == ("alef", "bet", "dalet", "gimel", "he")
    np.testing.assert_array_equal(cml_tf.load("letters").adapt(images, names).predict(questions), answer)
    assert "accuracy" in capsys.readouterr().out


def test_a_second_fit_goes_on(images):
    apart, whole = small(), small()
    apart.fit(images, steps=1, **SILENT)
    history = apart.fit(images, steps=2, **SILENT)
    whole.fit(images, steps=3, **SILENT)
    assert apart.trainer.step == 3 and set(history) >= {"accuracy", "loss", "co_loss"}
    for one, other in zip(apart.trainer.state()[0].values(), whole.trainer.state()[0].values(), strict=True):
        # Two models of one process need not agree in the last bit.
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_fit_validates_and_calls_its_callbacks(fitted, capsys):
    model, seen = fitted
    assert len(seen) == 2 and {"val_accuracy", "val_co_loss"} <= set(seen[0])
    text = model.summary()
    assert repr(text) == str(text) and "co_learner (phi)" in text, "as a notebook shows it"
    assert capsys.readouterr().out == ""


def test_a_score_is_that_of_its_answers_and_tells_mean_interval_episodes_and_seed(fitted, images):
    model, _ = fitted
    score, again, other, unadapted = (
        model.evaluate(images, episodes=4, seed=seed, steps=steps)
        for seed, steps in ((3, None), (3, None), (4, None), (3, 0))
    )
    assert (
        repr(score)
        == str(score)
        == (
            f"accuracy {100 * score.mean:.1f} % ± {100 * score.ci95:.1f} % "
            "(95 % interval over 4 test episodes, 3-way 1-shot, seed 3)"
        )
    )
    np.testing.assert_array_equal(again.scores, score.scores)
    assert other.manifest_hash != score.manifest_hash
    assert compare(score, unadapted).mean == pytest.approx(score.mean - unadapted.mean)
    support, query = images.episodes("test", ways=3, shots=1, queries=2, seed=3).batch(0, 4)[:2]
    for number, expected in enumerate(score.scores):
        task = model.adapt(support.inputs[number], support.targets[number])
        found = task.predict(query.inputs[number]).argmax(-1)
        assert np.mean(found == query.targets[number].numpy()) == pytest.approx(expected)


def test_a_learner_of_ones_own(images):
    def make(outputs):
        return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(outputs)])

    learner = linear(3)
    model = small(learner, cml_tf.cml(rate=0.1, co_learner=make))
    model.fit(images, steps=1, **SILENT)
    assert model.adapt(pictures(6), NAMES).predict(pictures(2)).shape == (2, 3)
    assert model.trainer.method.learner is learner and len(model.trainer.method.terms) == 2


def test_nodes_of_a_graph():
    dataset = NodeDataset.from_graph("random", random_graph(), normalise_features=False)
    model = cml_tf.FewShot(
        cml_tf.sgc(hidden=4, hops=3), cml_tf.maml(rate=0.1, first_order=True), ways=2, shots=1, queries=1
    )
    model.fit(dataset, steps=1, **SILENT)
    assert model.evaluate(dataset, episodes=2).episodes == 2
    assert model.adapt([1, 4, 9], ["a", "b", "a"]).predict([2, 3]).shape == (2, 2)
    with pytest.raises(UserError, match=r"nodes of 7 features, received 'other' with nodes of 5"):
        model.evaluate(NodeDataset.from_graph("other", random_graph(features=5)), episodes=2)


def test_waves_have_no_ways(images):
    waves = cml_tf.datasets.load("sinusoid")
    model = cml_tf.FewShot(cml_tf.mlp(hidden=(4,)), cml_tf.maml(rate=0.01, first_order=True), shots=3)
    model.fit(waves, steps=1, **SILENT)
    score = str(model.evaluate(waves, episodes=2))
    assert score.startswith("mse ") and "3-shot" in score
    with pytest.raises(UserError, match="'sinusoid', which is regression"):
        small().fit(waves)
    with pytest.raises(UserError, match="which is classification"):
        model.fit(images)


def test_a_model_of_any_size_is_trained_and_scored_on_many(images):
    method = cml_tf.method_of(class_rows="prototypes", rate=0.005, steps=2)
    model = small(method=method, ways=2, ways_range=(2, 4), shots_range=(1, 3))
    model.fit(images, steps=1, **SILENT)
    classes = model.sizes.training(images, 0).batch(0, 20).classes.numpy()
    assert set(np.sum(classes >= 0, 1)) == {2, 3, 4}
    for ways, shots, told in ((None, None, "2-way 1-shot"), (4, 2, "4-way 2-shot")):
        assert told in str(model.evaluate(images, episodes=2, ways=ways, shots=shots))
    assert model.adapt(pictures(6), NAMES).predict(pictures(2)).shape == (2, len(set(NAMES)))
    with pytest.raises(UserError, match="ways must be 4 for this model, received 5"):
        model.evaluate(images, episodes=2, ways=5)


def test_a_confidence_is_fitted_for_the_weights_of_now(fitted, images):
    model = fitted[0]
    confidence = model.calibrate(images, episodes=4)
    assert [knot.shots for knot in confidence.knots] == [1] and confidence.ways == 3
    assert confidence.open_set is not None and confidence.steps == int(model.model.method.rule.steps)
    Exportable(model.model.method, model.model.problem, (0.0, 1.0), confidence=confidence)
    plain = model.calibrate(images, shots=(1, 2), open_set=None, episodes=4)
    assert plain.open_set is None and [knot.shots for knot in plain.knots] == [1, 2]
    model.fit(images, steps=1, **SILENT)
    with pytest.raises(UserError, match="must be of this very model"):
        Exportable(model.model.method, model.model.problem, (0.0, 1.0), confidence=confidence)


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
