"""Classification over all training classes at once, with a guess of the rotation: MetaDelta's batch training.

After Chen et al. 2021, "MetaDelta: A Meta-Learning System for Few-shot Image Classification" (arXiv 2102.10744). The
encoder is not trained to adapt. It learns to tell all training classes apart, and by how much a picture was turned;
what then answers is a decoder without weights of its own (`soft_k_means`). For every picture x of a task, support and
query alike, of class c, turned by r = 0, 90, 180 and 270 degrees, with features phi:

    loss = (1 - rotation) * cross_entropy(c; W phi(turn_r x)) + rotation * cross_entropy(r; V phi(turn_r x))

W (one row for every training class) and V (four rows) belong to this term and are left behind at export.

Ours: a batch is a meta-batch of episodes, so that normalisation sees the pictures of one task at a time, as it will
when the decoder answers. What the rule meta-learns (a scale) gets a gradient of zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.learners.layers.initialisation import bias_initializer, kernel_initializer
from cml_tf.learners.learner import Learner, feature_rows
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.registry import Given, Settings, member, option, register, setting, variant

_TURNS = 4


class AllClasses(ObjectiveTerm):
    """Mean cross-entropy over all training classes, and over four rotations; reported as `class_accuracy`.

    Args:
      classes: how many training classes there are, 2 or more.
      rotation: share of the loss on rotations, 0 (pictures are not turned) to below 1.
      name: of the term.
      weight: in the outer loss.

    Example:
      >>> AllClasses(classes=64, rotation=0.5).rotation
      0.5

    Raises:
      UserError: for a number out of range, and for episodes that do not say which classes they hold.
    """

    # Its numbers are of training classes, which validation has none of.
    reported = False

    def __init__(self, classes: int, rotation: float = 0.5, name: str = "all_classes", weight: Weight = 1.0) -> None:
        super().__init__(name, weight)
        if not isinstance(classes, int) or classes < 2:
            raise UserError(f"classes must be a whole number of 2 or more, received {classes!r}.")
        if not 0 <= rotation < 1:
            raise UserError(f"rotation must be 0 or more and below 1, received {rotation!r}.")
        self.classes = classes
        self.rotation = rotation

    def build(self, learner: Learner) -> None:
        """Makes the two linear layers on what the learner's head gives.

        Raises:
          UserError: if the head has weights, which nothing would train; or for pictures that are not square.
        """
        if self.variables:
            return
        if learner.variables.head:
            raise UserError(
                f"{self.name} needs a learner whose head has no weights, received one that has: choose a rule that "
                "answers without a head, such as soft_k_means."
            )
        shape = learner.example_inputs.shape[1:]
        if self.rotation and (len(shape) != 3 or shape[0] != shape[1]):
            raise UserError(
                f"rotation must be 0 unless inputs are square pictures, received inputs of shape {tuple(shape)}."
            )
        width = int(np.prod(learner.head(learner.example_features).shape[1:]))
        self.variables = tuple(self._layers(width))

    def _layers(self, width: int) -> Iterator[keras.Variable]:
        sizes = {"class": self.classes} | ({"rotation": _TURNS} if self.rotation else {})
        for name, size in sizes.items():
            kernel, bias = kernel_initializer("fan_in_uniform"), bias_initializer("fan_in_uniform", width)
            yield keras.Variable(kernel([width, size]), dtype=keras.config.floatx(), name=f"{name}_kernel")
            yield keras.Variable(bias([size]), dtype=keras.config.floatx(), name=f"{name}_bias")

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task's pictures."""
        if isinstance(outcome.classes, tuple):
            raise UserError(
                "episodes must say which training class each label stands for: pass cml_tf.Episode(..., "
                "classes=numbers) with whole numbers [tasks, ways]."
            )
        inputs = tf.concat([outcome.support.inputs, outcome.query.inputs], 0)
        labels = tf.concat([outcome.support.targets, outcome.query.targets], 0)
        if labels.dtype.is_floating:
            raise UserError(f"{self.name} needs whole-number labels, received soft ones: choose another objective.")
        turns = _TURNS if self.rotation else 1
        turned = tf.concat([tf.image.rot90(inputs, turn) if turn else inputs for turn in range(turns)], 0)
        initial = outcome.initial
        forward = outcome.learner.call(initial.parameters, initial.state, turned, outcome.context, training=True)
        rows = feature_rows(forward.outputs)
        numbers = tf.tile(tf.gather(outcome.classes, labels), [turns])
        of_classes = _linear(rows, values[:2])
        loss = _cross_entropy(numbers, of_classes)
        if self.rotation:
            angles = tf.repeat(tf.range(turns), tf.shape(labels)[0])
            of_rotation = _cross_entropy(angles, _linear(rows, values[2:]))
            loss = (1 - self.rotation) * loss + self.rotation * of_rotation
        # What the rule meta-learns (the scale of its distances) has no part in this and stays as it begins.
        loss += tf.add_n([0 * tf.reduce_sum(tf.cast(value, loss.dtype)) for value in initial.meta] or [0 * loss])
        found = tf.cast(tf.argmax(of_classes, 1, numbers.dtype) == numbers, loss.dtype)
        return TermLoss(loss, {"class_accuracy": tf.reduce_mean(found)})


def _linear(rows: tf.Tensor, layer: tuple[tf.Tensor, ...]) -> tf.Tensor:
    kernel, bias = (tf.cast(value, rows.dtype) for value in layer)
    return rows @ kernel + bias


def _cross_entropy(numbers: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=numbers, logits=logits))


@dataclass(frozen=True)
class AllClassesOptions:
    """Options of `AllClasses`."""

    rotation: float = option(0.5, "share of the loss on guessing by how much a picture was turned", least=0, below=1)


def _faults(settings: Settings) -> list[str]:
    faults = []
    if member("rule", rule := settings["adaptation.rule"]).traits["head"]:
        faults.append(
            "adaptation.rule must be a rule that answers without a head (such as soft_k_means) with all_classes, which "
            f"trains none, received {rule!r}."
        )
    height, width = settings.get("dataset.image_size", (1, 1))
    if "images" not in member("learner", settings["learner.name"]).traits["reads"]:
        faults.append("objective.terms must not contain 'all_classes' unless examples are images.")
    elif settings["objective.rotation"] and height != width:
        faults.append(
            f"objective.rotation must be 0 for images that are not square, received {settings['objective.rotation']!r}."
        )
    return faults


@register("objective", "all_classes", AllClassesOptions, slot="outer", faults=_faults)
def _all_classes(options: AllClassesOptions, given: Given) -> list[ObjectiveTerm]:
    """All training classes told apart, and rotations guessed; nothing adapts (MetaDelta's batch training)."""
    return [QueryLoss(given.problem, differentiated=False), AllClasses(given.classes, options.rotation)]


@variant("meta_delta", chooses=("soft_k_means", "all_classes"), only="images")
def _decoder(settings: Settings) -> dict[str, Any]:
    """Batch training over all classes, and prototypes that ten rounds of the queries refine (arXiv 2102.10744)."""
    return {"adaptation.refinements": 10, "adaptation.normalised": True}


variant("no_rotation", chooses=("soft_k_means", "all_classes"), only="images")(
    setting("Batch training over all classes without rotations; with meta_delta its decoder.", objective__rotation=0.0)
)
