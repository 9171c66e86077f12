"""Advice on support examples: by hand where a rule is simple, and as the library says where a server answers."""

import dataclasses
import re

import numpy as np
import pytest

from export.client import Answer, ClientError
from export.client.advice import Advice, ask_next, leave_one_out
from export.client.answers import Confidence
from export.client.interface import Interface
from export.client.printed import advice_as_table, advice_as_text
from tests.export.served import CLOSE, inputs_of

NAMES = ("cat", "ant", "bee")


class NearestMean:
    """Answers as a client of a model would that knows the distance to each class mean."""

    def interface(self):
        return Interface(1, (1,), 5, True, False, {})

    def adapt_and_predict_tasks(self, tasks):
        answers = []
        for task in tasks:
            names = tuple(sorted(set(task.support_targets)))
            own = [np.array(task.support_targets) == name for name in names]
            means = np.array([task.support_inputs[rows].mean() for rows in own])
            closeness = np.exp(-abs(task.query_inputs - means[None]))
            shares = closeness / closeness.sum(1, keepdims=True)
            # Before calibration it was sure of another class.
            answers.append(Answer(1 - shares, names, Confidence(shares, shares > 0)))
        return answers


def test_a_wrong_label_is_the_first_suspect_and_its_class_the_weakest():
    inputs = np.array([[0.0], [0.2], [9.0], [10.0], [10.2], [9.8], [5.0]])
    labels = ["low", "low", "low", "high", "high", "high", "middle"]
    advice = leave_one_out(NearestMean(), inputs, labels)
    assert advice.suspects == (2,) and advice.taken_for[2] == "high" and advice.own[2] < 0.01
    assert advice.judged == (0, 1, 2, 3, 4, 5) and np.isnan(advice.own[6]) and advice.taken_for[6] is None
    assert advice.accuracy == pytest.approx(5 / 6)
    # A class with one example comes before those that are recognised badly.
    assert advice.weakest_class == "middle"
    assert leave_one_out(NearestMean(), inputs[:6], labels[:6]).weakest_class == "low"


def test_suspects_come_first_in_the_table_and_none_is_left_out():
    # Examples 2 to 13 are taken for another class; 0 and 1 are not, though their own labels are less probable.
    own, names = np.array([0.3, 0.35, *np.linspace(0.4, 0.49, 12), np.nan]), [f"{place}.png" for place in range(15)]
    labels, taken = ("low",) * 14 + ("alone",), ("low",) * 2 + ("high",) * 12 + (None,)
    advice = Advice(labels, own, taken)
    assert advice.order == (*range(2, 14), 0, 1, 14)
    rows = [re.findall(r"\d+\.png", line) for line in advice_as_table(advice, names, "ascii").splitlines()]
    assert [row[0] for row in rows if row] == names[2:14]
    assert "the first 12 examples in the table" in advice_as_text(advice, [], "ascii")
    # Of few suspects and many examples ten rows are shown.
    few = dataclasses.replace(advice, taken_for=("low",) * 5 + ("high",) + ("low",) * 8 + (None,))
    rows = [re.findall(r"\d+\.png", line) for line in advice_as_table(few, names, "ascii").splitlines()]
    assert [row[0] for row in rows if row] == [names[place] for place in (5, 0, 1, 2, 3, 4, 6, 7, 8, 9)]
    assert advice_as_text(few, ["ბ.png"], "ascii").splitlines()[1:] == [
        "Look at the labels of the first 1 examples in the table, the topmost before all.",
        "Another example would help most in class alone.",
        "Label next: \\u10d1.png.",
    ]


def test_where_nothing_can_be_left_out_it_says_so():
    alone = leave_one_out(NearestMean(), np.arange(3.0)[:, None], ["a", "b", "c"])
    assert alone.judged == () and alone.accuracy is None and alone.suspects == () and alone.weakest_class == "a"
    for inputs, labels in (([[1.0], [2.0]], ["a", "b"]), ([[1.0]] * 3, ["a"] * 3), ([[1.0]] * 3, [None] * 3)):
        with pytest.raises(ClientError):
            leave_one_out(NearestMean(), np.array(inputs), labels)


def test_the_least_certain_query_is_asked_next():
    values = np.array([[0.8, 0.1, 0.1], [0.4, 0.35, 0.25], [0.34, 0.33, 0.33]])
    answer = Answer(values, ("a", "b", "c"))
    assert ask_next(answer) == (2, 1, 0)
    with pytest.raises(ClientError, match="regression"):
        ask_next(dataclasses.replace(answer, class_names=None))


def test_a_served_model_judges_as_the_library_does(ask, images):
    support, _, _ = (array[0] for array in inputs_of(images.model).values())
    labels = [NAMES[position % 3] for position in range(6)]
    advice = leave_one_out(ask("images"), support, labels)
    for position, label in enumerate(labels):
        # One of each class is left out, and asked about, at a time: positions 0 to 2, then 3 to 5.
        others = [other for other in range(6) if other // 3 != position // 3]
        task = images.in_process.adapt(support[others], [labels[other] for other in others])
        wanted = task.predict(support[:3] if position < 3 else support[3:])[position % 3]
        np.testing.assert_allclose(advice.own[position], wanted[task.class_names.index(label)], **CLOSE)
        assert advice.taken_for[position] == task.class_names[wanted.argmax()]
    with pytest.raises(ClientError, match="regression"):
        leave_one_out(ask("waves"), np.zeros((4, 1)), np.zeros((4, 1)))
