"""What an export refuses to do."""

from cml_tf.errors import UserError


class ExportError(UserError):
    """A model that cannot be exported as asked, or an export that did not pass its own checks."""
