"""The boundary: every fault of an episode is refused in words, and sound episodes come out in canonical form."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.episodes import Episode, Examples, validate_episode, validated
from cml_tf.problems import Classification, Regression

CLASSES = Classification(3)
NUMBERS = Regression(2)


def labelled(tasks=2, count=4, inputs=None, targets=None):
    if inputs is None:
        inputs = np.zeros((tasks, count, 5))
    return Examples(inputs, np.zeros((tasks, count), np.int64) if targets is None else targets)


def with_value(value, shape=(2, 4, 5)):
    array = np.zeros(shape)
    array.flat[-1] = value
    return array


def labels(value):
    array = np.zeros((2, 4), np.int64)
    array[1, 3] = value
    return array


FAULTS = {
    "not an episode": (lambda: (labelled(), labelled()), r"must be cml_tf.Episode.*received tuple"),
    "support not examples": (lambda: Episode((1, 2), labelled()), r"support must be cml_tf.Examples.*received tuple"),
    "query not examples": (lambda: Episode(labelled(), [1]), r"query must be cml_tf.Examples.*received list"),
    "label too large": (
        lambda: Episode(labelled(targets=labels(3)), labelled()),
        r"support.targets must lie in \[0, 3\), received \[3\]",
    ),
    "label negative": (
        lambda: Episode(labelled(), labelled(targets=labels(-1))),
        r"query.targets must lie in \[0, 3\), received \[-1\]",
    ),
    "labels with one axis": (
        lambda: Episode(labelled(targets=np.zeros(4, np.int64)), labelled()),
        r"support.targets must be integer labels \[tasks, examples\] \(soft ones are floats\), received shape \[4\]",
    ),
    "labels with three axes": (
        lambda: Episode(labelled(), labelled(targets=np.zeros((2, 4, 3), np.int64))),
        r"query.targets must be integer labels .* \(soft ones are floats\), received shape \[2, 4, 3\]",
    ),
    "labels are floats": (
        lambda: Episode(labelled(targets=np.zeros((2, 4))), labelled()),
        r"support.targets must be integer labels .* or soft labels .*received dtype float64 and shape \[2, 4\]",
    ),
    "labels are text": (
        lambda: Episode(labelled(targets=np.full((2, 4), "cat")), labelled()),
        r"support.targets must be integer labels .*received dtype <U3",
    ),
    "labels are truth values": (
        lambda: Episode(labelled(targets=np.zeros((2, 4), bool)), labelled()),
        r"support.targets must be integer labels .*received dtype bool",
    ),
    "soft labels of another width": (
        lambda: Episode(labelled(targets=np.zeros((2, 4, 2))), labelled()),
        r"support.targets must be .*\[tasks, examples, 3\], received dtype float64 and shape \[2, 4, 2\]",
    ),
    "soft labels not finite": (
        lambda: Episode(labelled(targets=with_value(np.nan, (2, 4, 3))), labelled()),
        r"support.targets must be finite, received 1 NaN or infinite",
    ),
    "soft labels that do not sum to 1": (
        lambda: Episode(labelled(targets=np.full((2, 4, 3), 0.5)), labelled()),
        r"support.targets must be soft labels that are not negative and sum to 1 over the 3 classes",
    ),
    "soft labels below 0": (
        lambda: Episode(labelled(targets=np.tile([1.5, -0.5, 0.0], (2, 4, 1))), labelled()),
        r"support.targets must be soft labels that are not negative",
    ),
    "support without examples": (
        lambda: Episode(labelled(count=0), labelled()),
        r"support.targets must hold at least one task and one example, received shape \(2, 0\)",
    ),
    "no tasks": (
        lambda: Episode(labelled(tasks=0), labelled(tasks=0)),
        r"support.targets must hold at least one task and one example, received shape \(0, 4\)",
    ),
    "different numbers of tasks": (
        lambda: Episode(labelled(tasks=2), labelled(tasks=3)),
        r"same number of tasks on axis 0, received 2 and 3",
    ),
    "fewer inputs than targets": (
        lambda: Episode(labelled(inputs=np.zeros((2, 3, 5))), labelled()),
        r"support.inputs must start with axes \[tasks, examples\] = \[2, 4\].*received shape \[2, 3, 5\]",
    ),
    "inputs without example axis": (
        lambda: Episode(labelled(), labelled(inputs=np.zeros(2))),
        r"query.inputs must start with axes .*received shape \[2\]",
    ),
    "inputs not finite": (
        lambda: Episode(labelled(), labelled(inputs=with_value(np.inf))),
        r"query.inputs must be finite, received 1 NaN or infinite",
    ),
    "inputs too large for float32": (
        lambda: Episode(labelled(), labelled(inputs=with_value(1e39))),
        r"query.inputs must be finite, received 1 NaN or infinite",
    ),
    "inputs are text": (
        lambda: Episode(labelled(inputs=np.full((2, 4, 1), "a")), labelled()),
        r"support.inputs must be numbers, received dtype <U1",
    ),
    "inputs are complex": (
        lambda: Episode(labelled(inputs=np.zeros((2, 4, 1), complex)), labelled()),
        r"support.inputs must be numbers, received dtype complex128",
    ),
    "inputs are nothing": (
        lambda: Episode(labelled(inputs=()), labelled()),
        r"support.inputs must hold at least one tensor",
    ),
    "structures differ": (
        lambda: Episode(labelled(inputs={"a": np.zeros((2, 4, 5))}), labelled()),
        r"support.inputs and query.inputs must have the same structure",
    ),
    "examples of two shapes": (
        lambda: Episode(labelled(), labelled(inputs=np.zeros((2, 4, 6)))),
        r"examples of one shape, received \[5\] and \[6\]",
    ),
    "context not finite": (
        lambda: Episode(labelled(), labelled(), {"a": np.zeros(2), "b": np.array([1.0, np.nan])}),
        r"context\[1\] must be finite, received 1 NaN",
    ),
    "sparse context not finite": (
        lambda: Episode(labelled(), labelled(), tf.SparseTensor([[0, 0]], [np.nan], [2, 2])),
        r"context\[0\] must be finite, received 1 NaN",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(fault):
    make, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        validate_episode(make(), CLASSES)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros((2, 4)), r"support.targets must be float targets \[tasks, examples, 2\], .*shape \[2, 4\]"),
        (np.zeros((2, 4, 1)), r"support.targets must be float targets .*received dtype float64 and shape \[2, 4, 1\]"),
        (np.full((2, 4, 2), "1"), r"support.targets must be float targets .*received dtype <U1"),
        (with_value(-np.inf, (2, 4, 2)), r"support.targets must be finite, received 1 NaN or infinite"),
        (with_value(-1e39, (2, 4, 2)), r"support.targets must be finite, received 1 NaN or infinite"),
    ],
)
def test_faults_of_regression_targets_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        validate_episode(Episode(labelled(targets=targets), labelled(targets=np.zeros((2, 4, 2)))), NUMBERS)


@pytest.mark.filterwarnings("error")
def test_sound_episodes_come_out_canonical():
    inputs = {"image": np.ones((2, 4, 3, 3)), "node": np.ones((2, 4), np.int64), "flag": np.ones((2, 4), bool)}
    context = (tf.constant([1.0]), tf.SparseTensor([[0, 0]], [1.0], [2, 2]))
    soft = np.full((2, 4, 3), 1 / 3)
    episode = Episode(labelled(inputs=inputs, targets=labels(2)), labelled(inputs=inputs, targets=soft), context)
    support, query, same_context = validate_episode(episode, CLASSES)
    assert {name: array.dtype for name, array in support.inputs.items()} == {
        "image": np.float32,
        "node": np.int64,
        "flag": np.bool_,
    }
    assert (support.targets.dtype, query.targets.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(support.targets, labels(2))
    np.testing.assert_array_equal(query.targets, soft.astype(np.float32))
    assert same_context is context


def test_lists_of_targets_and_tensors_are_accepted():
    """A list of inputs would be a structure of several inputs, so that only targets may be lists."""
    support = Examples(np.array([[[1.0], [2.0]]]), [[0, 2]])
    episode = Episode(support, Examples(tf.constant([[[3.0]]]), tf.constant([[1]])))
    support, query, _ = validate_episode(episode, CLASSES)
    np.testing.assert_array_equal(support.inputs, [[[1.0], [2.0]]])
    assert query.inputs.dtype == np.float32 and query.targets.tolist() == [[1]]


def test_a_query_set_may_be_empty():
    _, query, _ = validate_episode(Episode(labelled(), labelled(count=0)), CLASSES)
    assert query.targets.shape == (2, 0)


def test_integer_regression_targets_become_floats():
    support, _, _ = validate_episode(
        Episode(labelled(targets=np.ones((2, 4, 2), np.int64)), labelled(targets=np.ones((2, 4, 2)))), NUMBERS
    )
    assert support.targets.dtype == np.float32


def test_a_fault_in_an_iterable_is_told_by_position():
    sound, broken = Episode(labelled(), labelled()), Episode(labelled(targets=labels(9)), labelled())
    episodes = validated(iter([sound, broken]), CLASSES)
    assert next(episodes).support.targets.shape == (2, 4)
    with pytest.raises(ValueError, match=r"episode 1 of the iterable: support.targets must lie in \[0, 3\)"):
        next(episodes)
