"""Several models as one: votes, fitted combiners, paired scores."""

from __future__ import annotations

import numpy as np
import pytest

import cml_tf
from cml_tf.datasets.varying_sizes import UNIFORM, VaryingSizes
from cml_tf.errors import UserError
from cml_tf.models import ensemble as module
from cml_tf.training.evaluator import Evaluator, compare
from tests.helpers.few_shot import drawings, image_model
from tests.helpers.small_tasks import NAMES, pictures

WAYS, EPISODES = 3, 6


@pytest.fixture(scope="module")
def models():
    """Two that differ."""
    return [image_model(WAYS, seed) for seed in (0, 5)]


@pytest.fixture(scope="module")
def source():
    return drawings().episodes("validation", ways=WAYS, shots=1, queries=2, seed=0)


def test_a_vote_is_the_mean_of_its_members(models):
    answers = [model.adapt(pictures(6), NAMES).predict(pictures(4, 1)) for model in models]
    assert not np.allclose(*answers)
    task = cml_tf.Ensemble(models).adapt(pictures(6), NAMES)
    np.testing.assert_allclose(task.predict(pictures(4, 1)), np.mean(answers, 0), rtol=1e-6)
    assert task.class_names == ("alpha", "beta", "gamma")
    assert task.classify(pictures(4, 1)) == [task.class_names[way] for way in np.mean(answers, 0).argmax(-1)]
    assert task.predict(pictures(0)).shape == (0, 3)


def test_a_vote_of_equal_members_is_the_member(models, source):
    ensemble = cml_tf.Ensemble([models[0]] * 3)
    alone = models[0].adapt(pictures(6), NAMES).predict(pictures(4, 1))
    np.testing.assert_allclose(ensemble.adapt(pictures(6), NAMES).predict(pictures(4, 1)), alone, rtol=1e-6)
    scored = ensemble.evaluate(source, EPISODES)
    assert compare(scored.ensemble, scored.members[0]).mean == 0


def test_members_score_what_they_score_alone_on_the_same_episodes(models, source):
    scored = cml_tf.Ensemble(models).evaluate(source, EPISODES)
    for model, member in zip(models, scored.members, strict=True):
        alone = Evaluator(model.method, "accuracy").evaluate(source, EPISODES, seed=0)
        np.testing.assert_allclose(member.scores, alone.scores, rtol=1e-6)
        assert compare(member, alone).mean == pytest.approx(0, abs=1e-7)
        assert np.isfinite(compare(scored.ensemble, member).ci95)


def test_the_candidate_that_is_best_on_the_other_half_answers(models, source):
    ensemble = cml_tf.Ensemble(models)
    scores = ensemble.fit(source, EPISODES)
    assert list(scores) == sorted(scores, key=lambda name: -scores[name]) and len(scores) == 5
    assert ensemble.combiner == next(iter(scores)) and scores[ensemble.combiner] == max(scores.values())
    # What was fitted answers tasks with fewer classes too.
    task = ensemble.adapt(pictures(2), ["cat", "dog"])
    np.testing.assert_allclose(task.predict(pictures(5, 2)).sum(-1), 1, rtol=1e-5)
    assert task.predict(pictures(5, 2)).shape == (5, 2)


def fewer():
    return drawings().episodes("test", ways=2, shots=1, queries=2, seed=0).within(WAYS)


@pytest.mark.slow
def test_what_was_fitted_is_scored_on_tasks_with_fewer_classes(models):
    ensemble = cml_tf.Ensemble(models)
    ensemble.combiner, ensemble._combine = "last", lambda probabilities: probabilities[..., ::-1].mean(0)
    scored, batch = ensemble.evaluate(fewer(), 4), fewer().batch(0, 4)
    for number, expected in enumerate(scored.ensemble.scores):
        task = ensemble.adapt(batch.support.inputs[number].numpy(), batch.support.targets[number].numpy())
        answers = task.predict(batch.query.inputs[number].numpy()).argmax(-1)
        assert np.mean(answers == batch.query.targets[number].numpy()) == pytest.approx(expected)
    alone = Evaluator(models[0].method, "accuracy").evaluate(fewer(), 4, seed=0)
    np.testing.assert_allclose(scored.members[0].scores, alone.scores, rtol=1e-6)


class Perfect:
    """A classifier that needs no help: the first member's answer."""

    def __init__(self, ways: int, wrong: int = 0) -> None:
        self.ways, self.wrong, self.rows = ways, wrong, 0

    def fit(self, rows, labels):
        self.rows = len(rows)
        assert len(labels) == self.rows
        return self

    def predict_proba(self, rows):
        return np.roll(rows[:, : self.ways], self.wrong, -1)


def answered(_, source, episodes):
    """Members of which the first is right and the second says nothing."""
    for episode in source.batches(0, 1).take(episodes):
        labels = episode.query.targets[0].numpy()
        yield module._Answer(np.stack([np.eye(WAYS)[labels], np.full((len(labels), WAYS), 1 / WAYS)]), labels)


@pytest.mark.parametrize("wrong", [0, 1])
def test_of_equals_the_vote_is_chosen_and_only_one_half_is_fitted_on(models, source, monkeypatch, wrong):
    classifier = Perfect(WAYS, wrong)
    monkeypatch.setattr(module.Ensemble, "_each_answer", answered)
    monkeypatch.setattr(module, "candidates", lambda: {"perfect": classifier})
    ensemble = cml_tf.Ensemble(models)
    assert ensemble.fit(source, 5) == {"vote": 1.0, "perfect": 1.0 - wrong}
    assert ensemble.combiner == "vote" and classifier.rows == 2 * 2 * WAYS


def test_a_better_candidate_beats_the_vote(models, source, monkeypatch):
    def one_knows(self, source, episodes):
        for answer in answered(self, source, episodes):
            wrong = np.roll(answer.probabilities[0], 1, -1)
            yield answer._replace(probabilities=np.stack([0.6 * answer.probabilities[0] + 0.4 / WAYS, wrong]))

    monkeypatch.setattr(module.Ensemble, "_each_answer", one_knows)
    ensemble = cml_tf.Ensemble(models)
    scores = ensemble.fit(source, 16)
    assert scores["vote"] == 0 and scores["logistic_regression"] == 1 and ensemble.combiner != "vote"
    assert ensemble.evaluate(source, 4).ensemble.mean == 1


def test_what_cannot_answer_together_is_told(models, source):
    other = image_model(2)
    for members, told in (([], "two or more, received 0"), ([models[0], other], "one problem on one shape")):
        with pytest.raises(UserError, match=told):
            cml_tf.Ensemble(members)
    with pytest.raises(UserError, match="at least 4"):
        cml_tf.Ensemble(models).fit(source, 3)
    largest = drawings().episodes("validation", ways=WAYS, shots=2, queries=2, seed=0)
    with pytest.raises(UserError, match="one size, received VaryingSizes"):
        cml_tf.Ensemble(models).fit(VaryingSizes(largest, (2, WAYS), (1, 2), UNIFORM), 4)
    with pytest.raises(UserError, match="all 3 classes .* none of label 2: pass episodes of 3 ways"):
        cml_tf.Ensemble(models).fit(fewer(), 4)
    with pytest.raises(UserError, match="episodes must be for"):
        cml_tf.Ensemble(models).evaluate(drawings().episodes("test", ways=2, shots=1, queries=1, seed=0), 2)
