"""The one exception for data that is missing, malformed or too little."""


class DatasetError(ValueError):
    """A dataset cannot be had, cannot be read, or does not hold what was asked of it.

    The message is one line that says what was expected, what was found and what to do; programs print it and exit 2.
    """
