"""What a request or a model can fail with: a gRPC status, which REST translates to its own."""

from __future__ import annotations

import grpc
import tensorflow as tf

# TensorFlow Serving's translation; whatever is not here is 500.
_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_LONGEST = 1024


class ServingError(Exception):
    """A request or a model that failed.

    Args:
      code: name of a gRPC status, such as `INVALID_ARGUMENT`.
      message: what was expected and received.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def grpc_code(self) -> grpc.StatusCode:
        """The code as gRPC has it."""
        return grpc.StatusCode[self.code]

    @property
    def http_status(self) -> int:
        """The code as REST has it."""
        return _HTTP.get(self.code, 500)

    @property
    def details(self) -> str:
        """The message as long as a header of gRPC may be."""
        return self.message if len(self.message) <= _LONGEST else self.message[:_LONGEST] + "...TRUNCATED"


def invalid(message: str) -> ServingError:
    """A request at fault."""
    return ServingError("INVALID_ARGUMENT", message)


def deadline_exceeded() -> ServingError:
    """A request that got no answer in its time, in the words of a session that ran into it."""
    return ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification")


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """An error of TensorFlow under its code and in its own words."""
    # A session wraps what the runtime said into notes about Python source, of which a served graph has none.
    cause = error.__context__
    raw = cause if isinstance(cause, tf.errors.OpError) else error
    return ServingError(_NAMES.get(raw.error_code, "UNKNOWN"), str(raw.message))
