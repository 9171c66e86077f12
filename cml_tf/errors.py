"""The one kind of error that users can mend, that of data among them, and how an interruption is told."""

from __future__ import annotations


class UserError(ValueError):
    """What was expected, what was received and what to do, in one line.

    Programs print the message and exit with code 2; every other error is a defect of this project and keeps its
    traceback.
    """

    # AutoGraph then raises it again as what it is, and not as an error of its own, which would be no ValueError.
    __init__ = Exception.__init__


class DatasetError(UserError):
    """A dataset cannot be had, cannot be read, or does not hold what was asked of it.

    The message is one line that says what was expected, what was found and what to do; programs print it and exit 2.

    Example:
      >>> try:
      ...     cml_tf.datasets.load("sinusoid", root="waves")
      ... except cml_tf.datasets.DatasetError as error:
      ...     print(error)
      root must be empty for the dataset 'sinusoid', which reads no files, received 'waves'.
    """


class Interrupted(Exception):
    """Somebody stopped the program, which can go on; programs print the message and exit with code 130.

    Everything is saved, unless the message says what is lost: a second Ctrl-C does not wait.
    """
