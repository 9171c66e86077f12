"""Tells on a console what a long program is doing, and how long each part took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console


class Stages:
    """Numbered stages of a program.

    Args:
      console: where to say it.
      total: how many there are.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._number = 0

    @contextlib.contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """Announces the next stage; tells its duration if it ends without an error."""
        self._number += 1
        self._console.print(f"\n[bold]{self._number}/{self._total}[/bold]  {what} ...")
        started = time.perf_counter()
        yield
        self._console.print(f"     [green]done[/green] in {duration(time.perf_counter() - started)}")


def duration(seconds: float) -> str:
    """In words, to the second."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"
