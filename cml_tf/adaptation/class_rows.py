"""Class rows that belong to no class before a task begins, so that one model takes any number of classes.

The last layer has a row (kernel and bias) for each of `ways` classes, the most that a task may have. Usually every row
is meta-learned on its own. Here all of them begin alike in every task, and only the support set moves them apart:

* `shared`: every row begins as one meta-learned vector (UNICORN-MAML, Ye and Chao 2022, arXiv 2106.16245). It is the
  mean of the layer's rows, so that the layer keeps its shape, and its gradient comes to all rows alike.
* `prototypes`: to that vector comes `w_k = 2 c_k, b_k = -|c_k|^2` of the class mean c_k of the support features
  (ProtoMAML, Triantafillou et al. 2020, arXiv 1903.03096, section 3). Gradients pass through c_k into the features.

Classes without a support example are absent: their logits are `ABSENT`, so they have no loss, no gradient and no
probability. With that nothing depends on the order of the classes or on how many more there could be.

What all rows have in common cancels in a softmax. So the shared vector itself changes no probability, and in the first
step of `shared` the features get no gradient: it is the head alone that moves there.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.adaptation.checks import check_classification
from cml_tf.adaptation.updates.update_rule import UpdateRule
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters
from cml_tf.learners.linear_head import LinearHead
from cml_tf.problems import Problem
from cml_tf.registry import Settings, member, setting, variant

OWN, SHARED, PROTOTYPES = "own", "shared", "prototypes"
CLASS_ROWS = (OWN, SHARED, PROTOTYPES)

# Finite, since infinity times zero would be no number; far enough that its exponential is exactly 0.
ABSENT = -1e9


class ClassRows:
    """Where the class rows begin in a task, and which classes it has.

    Args:
      problem: a classification.
      kind: of `CLASS_ROWS`, not `own`.

    Raises:
      UserError: for a regression or another word.
    """

    def __init__(self, problem: Problem, kind: str) -> None:
        check_classification(f"class_rows {kind!r}", problem)
        if kind not in CLASS_ROWS[1:]:
            raise UserError(f"class_rows must be one of {', '.join(CLASS_ROWS)}, received {kind!r}.")
        self.problem = problem
        self.kind = kind

    def check(self, learner: Learner, update_rule: UpdateRule) -> None:
        """Raises UserError unless the head is one linear layer whose rows the update rule moves, all in one way."""
        LinearHead(learner)
        if not update_rule.changed(learner.variables).head:
            raise UserError(
                f"class_rows {self.kind!r} needs a head that adapts, received an update rule that leaves it as it is: "
                "use class_rows 'own', or let the head adapt."
            )
        if update_rule.by_element:
            raise UserError(
                f"class_rows {self.kind!r} needs an update rule that moves every class row alike, received one with a "
                "rate for each element (meta_sgd): use another update rule."
            )

    def start(self, learner: Learner, parameters: Parameters, features: Any, targets: tf.Tensor) -> Parameters:
        """The parameters that a task begins with.

        Args:
          learner: that adapts.
          parameters: as they were meta-learned.
          features: of the support set under them; looked at for `prototypes` alone.
          targets: of the support set.
        """
        kernel, bias = parameters.head
        rows, biases = _shared(kernel), _shared(bias)
        if self.kind == PROTOTYPES:
            means = self._class_means(LinearHead(learner).rows(features), targets)
            rows += tf.cast(2 * tf.transpose(means), kernel.dtype)
            biases -= tf.cast(tf.reduce_sum(tf.square(means), -1), bias.dtype)
        return parameters._replace(head=(rows, biases))

    def present(self, targets: tf.Tensor) -> tf.Tensor:
        """Which classes have a support example, booleans `[ways]`; of soft labels, a share in one."""
        return tf.reduce_any(self.problem.as_vectors(targets, tf.float32) > 0, 0)

    def _class_means(self, rows: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        shares = self.problem.as_vectors(targets, rows.dtype)
        sums = tf.matmul(shares, rows, transpose_a=True)
        return tf.math.divide_no_nan(sums, tf.reduce_sum(shares, 0)[:, tf.newaxis])


def masked(outputs: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Logits `[examples, ways]` with `ABSENT` for classes that are not there."""
    return tf.where(present, outputs, tf.constant(ABSENT, outputs.dtype))


def class_row_faults(settings: Settings) -> list[str]:
    """Why class rows cannot be part of a configuration."""
    slots = [member("objective", name).traits["slot"] for name in settings["objective.terms"]]
    still = settings["adaptation.class_rows"] == SHARED and settings["adaptation.steps"] < 2
    if not still or "co_learner" not in slots:
        return []
    return [
        "adaptation.steps must be at least 2 with adaptation.class_rows 'shared' and a co-learner, which could only "
        f"guess from features that do not adapt in the first step, received {settings['adaptation.steps']}."
    ]


def _shared(rows: tf.Tensor) -> tf.Tensor:
    """The mean over the last axis, that of the classes, in the place of every class."""
    return tf.broadcast_to(tf.reduce_mean(rows, -1, keepdims=True), tf.shape(rows))


variant("unicorn_maml", only="images")(
    setting(
        "Five steps from one vector in the place of all class rows (arXiv 2106.16245).",
        adaptation__class_rows=SHARED,
        adaptation__steps=5,
        adaptation__eval_steps=5,
    )
)
variant("proto_maml", only="images")(
    setting(
        "Five small steps from class rows at the prototypes (arXiv 1903.03096).",
        adaptation__class_rows=PROTOTYPES,
        # Where the rows stand already, the rates of other heads would throw them far off.
        adaptation__rate=0.005,
        adaptation__steps=5,
        adaptation__eval_steps=5,
    )
)
