"""What ends a rollout."""

from cml_tf.errors import UserError


class RolloutError(UserError):
    """A step that failed; the message says what is served now."""


class ChangedError(RolloutError):
    """Somebody else has changed the file, which stays as it is."""
