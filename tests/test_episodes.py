"""The boundary: every fault of an episode is refused in words, and sound episodes come out in canonical form."""

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


FEW = np.zeros((2, 4, 2))
# The part that is faulty and what it holds, and what is said of it after `support.targets must` and the like.
FAULTS = {
    "label too large": ("support", {"targets": labels(3)}, r"lie in \[0, 3\), received \[3\]"),
    "label negative": ("query", {"targets": labels(-1)}, r"lie in \[0, 3\), received \[-1\]"),
    "one axis": (
        "support",
        {"targets": np.zeros(4, int)},
        r"be integer .* \(soft ones are floats\), received shape \[4\]",
    ),
    "three axes": ("query", {"targets": np.zeros((2, 4, 3), int)}, r"be .*\(soft ones are floats\), .* \[2, 4, 3\]"),
    "floats": (
        "support",
        {"targets": np.zeros((2, 4))},
        r"be integer labels .* or soft .*dtype float64 and shape \[2, 4\]",
    ),
    "text": ("support", {"targets": np.full((2, 4), "cat")}, "be integer labels .*received dtype <U3"),
    "truth values": ("support", {"targets": np.zeros((2, 4), bool)}, "be integer labels .*received dtype bool"),
    "soft of another width": ("support", {"targets": FEW}, r"be .*examples, 3\], .*float64 and shape \[2, 4, 2\]"),
    "soft not finite": ("support", {"targets": with_value(np.nan, (2, 4, 3))}, "be finite, received 1 NaN or infinite"),
    "soft beyond 1": (
        "support",
        {"targets": np.full((2, 4, 3), 0.5)},
        "be soft .* not negative and sum to 1 .* 3 classes",
    ),
    "soft below 0": (
        "support",
        {"targets": np.tile([1.5, -0.5, 0.0], (2, 4, 1))},
        "be soft labels that are not negative",
    ),
    "no examples": ("support", {"count": 0}, r"contain at least one task and one example, received shape \(2, 0\)"),
    "no tasks": ("support", {"tasks": 0}, r"contain at least one task and one example, received shape \(0, 4\)"),
    "too few inputs": ("support", {"inputs": np.zeros((2, 3, 5))}, r"start with .* = \[2, 4\].*shape \[2, 3, 5\]"),
    "no example axis": ("query", {"inputs": np.zeros(2)}, r"start with axes .*received shape \[2\]"),
    "inputs not finite": ("query", {"inputs": with_value(np.inf)}, "be finite, received 1 NaN or infinite"),
    "too large for float32": ("query", {"inputs": with_value(1e39)}, "be finite, received 1 NaN or infinite"),
    "inputs are text": ("support", {"inputs": np.full((2, 4, 1), "a")}, "be numbers, received dtype <U1"),
    "inputs are complex": (
        "support",
        {"inputs": np.zeros((2, 4, 1), complex)},
        "be numbers, received dtype complex128",
    ),
    "inputs are nothing": ("support", {"inputs": ()}, "contain at least one tensor"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_one_part_are_refused_and_name_it(fault):
    part, changes, message = FAULTS[fault]
    episode = Episode(labelled(), labelled())._replace(**{part: labelled(**changes)})
    named = "inputs" if "inputs" in changes else "targets"
    with pytest.raises(ValueError, match=rf"{part}\.{named} must {message}"):
        validate_episode(episode, CLASSES)


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        ((labelled(), labelled()), "must be cml_tf.Episode.*received tuple"),
        (Episode((1, 2), labelled()), "support must be cml_tf.Examples.*received tuple"),
        (Episode(labelled(), [1]), "query must be cml_tf.Examples.*received list"),
        (Episode(labelled(), labelled(tasks=3)), "same number of tasks on axis 0, received 2 and 3"),
        (
            Episode(labelled(inputs={"a": np.zeros((2, 4, 5))}), labelled()),
            "inputs and query.inputs must have the same",
        ),
        (Episode(labelled(), labelled(inputs=np.zeros((2, 4, 6)))), r"examples of one shape, received \[5\] and \[6\]"),
        (Episode(labelled(), labelled(), {"a": 0.0, "b": [1, np.nan]}), r"context\[2\] must be finite, received 1 NaN"),
        (Episode(labelled(), labelled(), tf.SparseTensor([[0, 0]], [np.nan], [2, 2])), r"context\[0\] must be finite"),
    ],
)
def test_faults_of_the_whole_are_refused(episode, message):
    with pytest.raises(ValueError, match=message):
        validate_episode(episode, CLASSES)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros((2, 4)), r"be float targets \[tasks, examples, 2\], .*shape \[2, 4\]"),
        (np.zeros((2, 4, 1)), r"be float targets .*received dtype float64 and shape \[2, 4, 1\]"),
        (np.full((2, 4, 2), "1"), "be float targets .*received dtype <U1"),
        (with_value(-np.inf, (2, 4, 2)), "be finite, received 1 NaN or infinite"),
        (with_value(-1e39, (2, 4, 2)), "be finite, received 1 NaN or infinite"),
    ],
)
def test_faults_of_regression_targets_are_refused(targets, message):
    with pytest.raises(ValueError, match=rf"support\.targets must {message}"):
        validate_episode(Episode(labelled(targets=targets), labelled(targets=FEW)), NUMBERS)


@pytest.mark.filterwarnings("error")
def test_sound_episodes_come_out_canonical():
    inputs = {"image": np.ones((2, 4, 3, 3)), "node": np.ones((2, 4), np.int64), "flag": np.ones((2, 4), bool)}
    context = (tf.constant([1.0]), tf.SparseTensor([[0, 0]], [1.0], [2, 2]))
    soft = np.full((2, 4, 3), 1 / 3)
    episode = Episode(labelled(inputs=inputs, targets=labels(2)), labelled(inputs=inputs, targets=soft), context)
    support, query, same_context, key, classes = validate_episode(episode, CLASSES)
    assert key == () and classes == ()
    dtypes = {name: array.dtype for name, array in support.inputs.items()}
    assert dtypes == {"image": np.float32, "node": np.int64, "flag": np.bool_}
    assert (support.targets.dtype, query.targets.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(support.targets, labels(2))
    np.testing.assert_array_equal(query.targets, soft.astype(np.float32))
    assert same_context is context


def test_lists_of_targets_and_tensors_are_accepted():
    """A list of inputs would be a structure of several inputs, so that only targets may be lists."""
    support = Examples(np.array([[[1.0], [2.0]]]), [[0, 2]])
    episode = Episode(support, Examples(tf.constant([[[3.0]]]), tf.constant([[1]])))
    support, query, *_ = validate_episode(episode, CLASSES)
    np.testing.assert_array_equal(support.inputs, [[[1.0], [2.0]]])
    assert query.inputs.dtype == np.float32 and query.targets.tolist() == [[1]]


def test_a_query_set_may_be_empty_and_integer_regression_targets_become_floats():
    _, query, *_ = validate_episode(Episode(labelled(), labelled(count=0)), CLASSES)
    assert query.targets.shape == (2, 0)
    whole = labelled(targets=np.ones((2, 4, 2), np.int64))
    support, *_ = validate_episode(Episode(whole, labelled(targets=FEW)), NUMBERS)
    assert support.targets.dtype == np.float32


def test_a_fault_in_an_iterable_is_told_by_position():
    sound, broken = Episode(labelled(), labelled()), Episode(labelled(targets=labels(9)), labelled())
    episodes = validated(iter([sound, broken]), CLASSES)
    assert next(episodes).support.targets.shape == (2, 4)
    with pytest.raises(ValueError, match=r"episode 1 of the iterable: support.targets must lie in \[0, 3\)"):
        next(episodes)


def test_a_key_is_two_whole_numbers_a_task():
    episode = Episode(labelled(), labelled())
    tasks = np.shape(episode.support.targets)[0]
    assert validate_episode(episode._replace(key=[[1, 2]] * tasks), CLASSES).key.dtype == np.int64
    for wrong in ([[1, 2]] * (tasks + 1), [[0.5, 2.0]] * tasks, [1] * tasks):
        with pytest.raises(ValueError, match=rf"key must be whole numbers \[tasks, 2\] = \[{tasks}, 2\], received"):
            validate_episode(episode._replace(key=wrong), CLASSES)
