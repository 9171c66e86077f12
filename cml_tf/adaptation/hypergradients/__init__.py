"""How the gradient of the outer loss goes through the inner loop. A new hypergradient is a new file here."""

from typing import Any

from cml_tf.adaptation.hypergradients.adjoint import AdjointBacksolve, AdjointDiscrete, AdjointHeun
from cml_tf.adaptation.hypergradients.finite_difference import FiniteDifference
from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Iterate, Solution
from cml_tf.adaptation.hypergradients.implicit import Implicit
from cml_tf.adaptation.hypergradients.rematerialised import RematerialisedReverse, with_own_gradient
from cml_tf.adaptation.hypergradients.reverse import FirstOrder, Reverse
from cml_tf.adaptation.hypergradients.truncated import Truncated
from cml_tf.problems import Regression
from cml_tf.registry import Given, member


def make_hypergradient(name: str, **options: Any) -> Hypergradient:
    """The hypergradient of that name; ConfigurationError lists the names there are.

    Example:
      >>> cml_tf.adaptation.make_hypergradient("first_order").second_order
      False
    """
    chosen = member("hypergradient", name)
    # A hypergradient needs its options alone.
    return chosen.build(chosen.options(**options), Given(Regression(1), {}))


__all__ = [
    "AdjointBacksolve",
    "AdjointDiscrete",
    "AdjointHeun",
    "FiniteDifference",
    "FirstOrder",
    "Hypergradient",
    "Implicit",
    "InnerLoop",
    "Iterate",
    "RematerialisedReverse",
    "Reverse",
    "Solution",
    "Truncated",
    "make_hypergradient",
    "with_own_gradient",
]
