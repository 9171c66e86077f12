"""Which derivatives of a forward pass will be asked for, so that layers can choose how to compute it.

A layer may have one form that is quick to differentiate once and another that is quick to differentiate twice. Both are
right to every order; the choice costs time, never correctness.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OUTER: ContextVar[bool] = ContextVar("outer", default=False)
_TWICE: ContextVar[bool] = ContextVar("twice", default=False)


@contextmanager
def outer_gradient() -> Iterator[None]:
    """Around everything that the outer loop differentiates."""
    token = _OUTER.set(True)
    try:
        yield
    finally:
        _OUTER.reset(token)


@contextmanager
def inner_gradient(second_order: bool) -> Iterator[None]:
    """Around the forward pass of an inner step.

    Args:
      second_order: whether its gradient is part of what the outer loop differentiates.
    """
    token = _TWICE.set(second_order and _OUTER.get())
    try:
        yield
    finally:
        _TWICE.reset(token)


def differentiated_twice() -> bool:
    """Whether the forward pass at hand is that of an inner step within an outer gradient."""
    return _TWICE.get()
