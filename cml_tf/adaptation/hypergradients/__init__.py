"""How the gradient of the outer loss goes through the inner loop. A new hypergradient is a new file here."""

from collections.abc import Callable

from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, InnerStep, Iterate, Solution
from cml_tf.adaptation.hypergradients.rematerialised import RematerialisedReverse
from cml_tf.adaptation.hypergradients.reverse import FirstOrder, Reverse

HYPERGRADIENTS: dict[str, Callable[[], Hypergradient]] = {
    "reverse": Reverse,
    "reverse_rematerialised": RematerialisedReverse,
    "first_order": FirstOrder,
}


def make_hypergradient(name: str) -> Hypergradient:
    """The hypergradient of that name; ValueError lists the names there are."""
    if name not in HYPERGRADIENTS:
        raise ValueError(f"hypergradient must be one of {', '.join(HYPERGRADIENTS)}, received {name!r}.")
    return HYPERGRADIENTS[name]()


__all__ = [
    "HYPERGRADIENTS",
    "FirstOrder",
    "Hypergradient",
    "InnerLoop",
    "InnerStep",
    "Iterate",
    "RematerialisedReverse",
    "Reverse",
    "Solution",
    "make_hypergradient",
]
