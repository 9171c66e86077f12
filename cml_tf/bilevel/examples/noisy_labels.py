"""Weighs training examples of which many are labelled wrong.

Letters of the glyphs, 20 classes a seed; two in five of the training images have a random other label, and nobody says
which. Lower problem: a linear classifier y on the training images, each with a weight of its own. Upper problem: the
weights x, by the loss of that classifier on a few images whose labels were checked. What comes of a seed: the mean
weight of right and of wrong examples, how often a wrong one weighs less than a right one, and the test accuracy beside
that of the same classifier without weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.bilevel.problem import BilevelProblem
from cml_tf.bilevel.solvers import make_solver
from cml_tf.bilevel.upper_gradient import hypergradient
from cml_tf.datasets.glyphs import load_glyphs

CLASSES, TRAINED, CHECKED = 20, 14, 4
WRONG, DECAY, RATE = 0.4, 1e-2, 0.5


class Images(NamedTuple):
    """Flat pictures `[images, pixels]`, ink being 1, and labels `[images]`."""

    inputs: tf.Tensor
    labels: tf.Tensor


class Letters(NamedTuple):
    """Training images with the labels that were given, which of them are wrong (booleans), and two sets without."""

    trained: Images
    wrong: np.ndarray
    checked: Images
    test: Images


def draw_letters(seed: int) -> Letters:
    """Twenty letters; of 24 images each 14 to train on, 4 that were checked and 6 to test on."""
    generator, pool = np.random.default_rng(seed), load_glyphs().pools["train"]
    starts = np.cumsum(pool.counts) - pool.counts
    classes = generator.choice(len(pool.counts), CLASSES, replace=False)
    rows = np.stack([starts[one] + generator.permutation(pool.counts[one]) for one in classes])

    def images(part: np.ndarray) -> Images:
        pictures = 1 - pool.images[part.ravel()].astype(np.float32) / 255
        labels = np.repeat(np.arange(CLASSES, dtype=np.int32), part.shape[1])
        return Images(tf.constant(pictures.reshape(len(labels), -1)), tf.constant(labels))

    trained, checked, test = np.split(rows, [TRAINED, TRAINED + CHECKED], axis=1)
    right = images(trained)
    spoilt = np.zeros(len(right.labels), bool)
    spoilt[generator.choice(len(spoilt), round(WRONG * len(spoilt)), replace=False)] = True
    others = generator.integers(1, CLASSES, len(spoilt), dtype=np.int32)
    given = np.where(spoilt, (right.labels + others) % CLASSES, right.labels)
    return Letters(Images(right.inputs, tf.constant(given)), spoilt, images(checked), images(test))


def losses(y: Any, images: Images) -> tf.Tensor:
    """Of a linear classifier, one for each image."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(images.labels, images.inputs @ y["kernel"] + y["bias"])


def weighing(trained: Images, checked: Images) -> BilevelProblem:
    """A problem whose x holds a number for each training image: its sigmoid is the weight."""

    def lower(y: Any, x: tf.Tensor) -> tf.Tensor:
        penalty = DECAY * tf.reduce_sum(tf.square(y["kernel"]))
        return tf.reduce_mean(tf.sigmoid(x) * losses(y, trained)) + penalty

    return BilevelProblem(lower, lambda y, x: tf.reduce_mean(losses(y, checked)))


def learn(letters: Letters, steps: int) -> tuple[tf.Tensor, list[float]]:
    """x, and the residual of each upper step."""
    problem, solver = weighing(letters.trained, letters.checked), make_solver("implicit", iterations=5, tolerance=1e-3)
    x = tf.Variable(tf.zeros(len(letters.wrong)))
    optimizer = keras.optimizers.Adam(0.1)

    @tf.function(autograph=False)
    def step(y: Any, state: Any) -> Any:
        # Both levels go on from where the last step left them.
        found = hypergradient(problem, x, y, tf.constant(10), RATE, solver, state=state)
        optimizer.apply([found.of_x], [x])
        return found.final, found.state, found.residual

    y = untrained(letters.trained)
    optimizer.build([x])
    state, residuals = tf.nest.map_structure(tf.zeros_like, y), []
    for _ in range(steps):
        y, state, residual = step(y, state)
        residuals.append(float(residual))
    return tf.convert_to_tensor(x), residuals


def alike(images: Images) -> tf.Tensor:
    """The x of images that all have the largest weight there is."""
    return tf.fill([len(images.labels)], 20.0)


def untrained(images: Images) -> Any:
    """A classifier of zeros."""
    return {"kernel": tf.zeros([images.inputs.shape[1], CLASSES]), "bias": tf.zeros([CLASSES])}


def accuracy(y: Any, images: Images) -> float:
    """The share of images that a classifier names right."""
    named = tf.argmax(images.inputs @ y["kernel"] + y["bias"], 1, tf.int32)
    return float(tf.reduce_mean(tf.cast(named == images.labels, tf.float32)))


def accuracy_after(letters: Letters, x: tf.Tensor, *sets: Images) -> float:
    """The test accuracy of the same classifier, trained to its end on sets of images with the weights of x."""
    return accuracy(_end(Images(*(tf.concat(parts, 0) for parts in zip(*sets, strict=True))), x), letters.test)


@tf.function(autograph=False)
def _end(trained: Images, x: tf.Tensor) -> Any:
    problem = weighing(trained, trained)
    return hypergradient(problem, x, untrained(trained), tf.constant(2000), RATE, "implicit").final


def result(seed: int, steps: int = 200) -> dict[str, Any]:
    """What comes of one seed; classifiers that saw the checked images too are compared with each other."""
    letters = draw_letters(seed)
    x, residuals = learn(letters, steps)
    weights = tf.sigmoid(x).numpy()
    right, spoilt = weights[~letters.wrong], weights[letters.wrong]
    return {
        "seed": seed,
        "weight_of_right": float(right.mean()),
        "weight_of_wrong": float(spoilt.mean()),
        "wrong_below_right": float((spoilt[:, None] < right).mean()),
        "accuracy_weighted": accuracy_after(letters, x, letters.trained),
        "accuracy_unweighted": accuracy_after(letters, alike(letters.trained), letters.trained),
        "accuracy_weighted_and_checked": accuracy_after(
            letters, tf.concat([x, alike(letters.checked)], 0), letters.trained, letters.checked
        ),
        "accuracy_unweighted_and_checked": accuracy_after(
            letters, tf.concat([alike(letters.trained), alike(letters.checked)], 0), letters.trained, letters.checked
        ),
        "accuracy_checked_alone": accuracy_after(letters, alike(letters.checked), letters.checked),
        "largest_residual": max(residuals[len(residuals) // 2 :]),
    }
