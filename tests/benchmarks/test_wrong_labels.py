"""What is counted of advice on wrong labels, for a client that is never wrong but for its labels."""

import numpy as np
import tensorflow as tf

from benchmarks.wrong_labels import _episode
from cml_tf.episodes import Episode, Examples
from export.client.answers import Answer
from export.client.interface import Interface

WAYS, SHOTS = 3, 4


class NearestMedian:
    """Three points on a line; one wrong label of four moves no median far."""

    def interface(self):
        return Interface(1, (1,), WAYS, True, False, {})

    def adapt_and_predict_tasks(self, tasks):
        return [self.answer(task.support_inputs, task.support_targets, task.query_inputs) for task in tasks]

    def answer(self, inputs, names, queries):
        known = tuple(sorted(set(names)))
        places = np.array([np.median(inputs[np.array(names) == name]) for name in known])
        closeness = np.exp(-abs(queries - places[None]))
        return Answer(closeness / closeness.sum(1, keepdims=True), known)


def test_a_wrong_label_is_found_where_classes_are_far_apart():
    labels = np.tile(np.arange(WAYS), SHOTS)
    inputs = 10.0 * labels[:, None] + np.repeat(np.arange(SHOTS), WAYS)[:, None] / 10
    examples = Examples(tf.constant(inputs[None]), tf.constant(labels[None]), None)
    rng = np.random.default_rng(0)
    for _ in range(10):
        row = _episode(NearestMedian(), Episode(examples, examples), rng)
        assert (row["first_suspect_is_it"], row["among_suspects"], row["false_suspects"]) == (1, 1, 0)
        assert row["accuracy_first_suspect_looked_at"] == row["accuracy_right_labels"] == 1
