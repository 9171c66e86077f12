"""What changes with the outer step, but for the optimisers' rates, which are Keras' own schedules.

A step is a function of its `Moment` and its episodes, so resumption needs nothing but the number of the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from cml_tf.adaptation.rule import Schedules
from cml_tf.datasets.base import check_integer
from cml_tf.objectives.term import ObjectiveTerm


class Moment(NamedTuple):
    """How one outer step is made.

    Attributes:
      weights: of the method's terms, in their order.
      first_order: whether inner gradients are constants, whatever the rule's hypergradient.
      scalars: values of the method's scheduled numbers, by name.
    """

    weights: tuple[float, ...]
    first_order: bool = False
    scalars: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Schedule:
    """Gives the moment of each outer step.

    Example:
      >>> from cml_tf.objectives import QueryLoss
      >>> from cml_tf.problems import Regression
      >>> from cml_tf.training.schedule import Schedule
      >>> fading = QueryLoss(Regression(1), weight=lambda step: 1 / (1 + step))
      >>> Schedule(first_order_steps=1)(1, [fading])
      Moment(weights=(0.5,), first_order=False, scalars={})

    Args:
      first_order_steps: outer steps before which inner gradients are constants (MAML++'s annealing of the order of
        derivatives, arXiv 1810.09502); the step is traced once more when they are over.
    """

    first_order_steps: int = 0

    def __post_init__(self) -> None:
        check_integer("first_order_steps", self.first_order_steps, minimum=0)

    def __call__(
        self, step: int, terms: Sequence[ObjectiveTerm], schedules: Schedules = MappingProxyType({})
    ) -> Moment:
        """The moment before an outer step.

        Args:
          step: of the outer loop, the first one being 0.
          terms: of the method.
          schedules: likewise.
        """
        weights = tuple(term.weight_at(step) for term in terms)
        scalars = {name: float(one.at(step)) for name, one in schedules.items()}
        return Moment(weights, step < self.first_order_steps, scalars)
