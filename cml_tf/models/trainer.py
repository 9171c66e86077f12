"""The trainer of a notebook: what it trained is one call away."""

from __future__ import annotations

from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.training import trainer


class Trainer(trainer.Trainer):
    """`cml_tf.training.trainer.Trainer`, which knows nothing of models, with a way to one.

    Example:
      >>> from cml_tf.adaptation import SGD, GradientDescent
      >>> from cml_tf.objectives import QueryLoss
      >>> line = cml_tf.Regression(1)
      >>> learner = cml_tf.learners.mlp(1, (1,))
      >>> trainer = cml_tf.Trainer(learner, GradientDescent(line, SGD(0.01)), [QueryLoss(line)], line)
      >>> trainer.model((-5.0, 5.0)).adapt([[0.0], [1.0]], [0.0, 1.0]).predict([[0.5]]).shape
      (1, 1)
    """

    def model(self, value_range: tuple[float, float] | None = None) -> FewShotModel:
        """What was trained, ready to adapt and predict; it shares this trainer's variables.

        Args:
          value_range: of the inputs, if out-of-range inputs are to be refused.
        """
        return FewShotModel.of(self, value_range)
