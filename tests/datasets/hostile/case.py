"""What a row of the tables is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """One hostile input.

    Attributes:
      run: arranges it in an empty folder, hands it to the product, and returns what that makes of it.
      expected: what must be in the one line of a refusal; or, where a choice is documented, says whether it was made.
    """

    run: Callable[[Path], Any]
    expected: str | Callable[[Any], bool]
