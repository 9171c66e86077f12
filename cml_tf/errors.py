"""The one kind of error that users can mend, and how an interruption is told."""

from __future__ import annotations


class UserError(ValueError):
    """What was expected, what was received and what to do, in one line.

    Programs print the message and exit with code 2; every other error is a defect of this project and keeps its
    traceback.
    """


class Interrupted(Exception):
    """Somebody stopped the program, and everything is saved; programs print the message and exit with code 130."""
