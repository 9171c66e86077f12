"""What ends a rollout."""


class RolloutError(Exception):
    """A step that failed; the message says what is served now."""
