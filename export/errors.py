"""What an export refuses to do."""


class ExportError(ValueError):
    """A model that cannot be exported as asked, or an export that did not pass its own checks."""
