"""What can go wrong for somebody who asks a server; every message says what to do."""

from __future__ import annotations

from collections.abc import Sequence

from cml_tf.errors import UserError
from export.status import MEANINGS, OK

# By the names of gRPC's codes; REST's are translated into them.
_REMEDIES = {
    "CANCELLED": "The server was stopped while it worked: try again.",
    "DEADLINE_EXCEEDED": "Allow more time (--timeout_seconds), or send fewer examples at a time.",
    "INVALID_ARGUMENT": "Check that the model is an export of cml_tf and that the request fits its version.",
    "NOT_FOUND": "Check the name and the version of the model on the status page of the server.",
    "RESOURCE_EXHAUSTED": "The server is busy or the message is too large: try again later, or send fewer examples.",
    "UNAVAILABLE": "Check the address, and that the server is running and uses this protocol at this port.",
    "UNIMPLEMENTED": "Check the port: it uses another protocol, or the server does not have this call.",
}
# What TensorFlow Serving says when it could not join requests.
OTHER_SHAPES = "have different shapes and padding is turned off"
_REMEDIES_BY_MESSAGE = {
    OTHER_SHAPES: "The server batched it with a request of another size: export the model with --batching and pad to "
    "its shape buckets, or serve it without --enable_batching.",
    "is larger than maximum input batch size": "Send fewer tasks at a time (--tasks_per_request).",
}
_OTHERWISE = "See the log of the server."


class ClientError(UserError):
    """What the caller can mend.

    Example:
      >>> try:
      ...     FewShotClient("http://127.0.0.1:8501", model="")
      ... except ClientError as error:
      ...     print(error)
      the name of the model must be passed: use a name that the server prints when it starts.
    """


class OtherModelError(ClientError):
    """An adapted task that the model now has no use for, as its metadata says."""


class RequestError(ClientError):
    """A request that was not answered.

    Example:
      >>> error = RequestError("NOT_FOUND", "no such model")
      >>> error.code
      'NOT_FOUND'

    Args:
      code: name of the gRPC code.
      message: of the server, or of the library that could not reach it.
      remedy: what to do; by default what usually helps with this code.

    Attributes:
      code: the same.
      message: the same.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        remedy = remedy or next((told for part, told in _REMEDIES_BY_MESSAGE.items() if part in message), "")
        super().__init__(f"{code}: {message.strip().rstrip('.')}. {remedy or _REMEDIES.get(code, _OTHERWISE)}")
        self.code = code
        self.message = message


class TaskError(ClientError):
    """A task that the server could not do: its `status` is not 0.

    Example:
      >>> TaskError([0, 3]).statuses
      (0, 3)

    Args:
      statuses: of every task of the request.

    Attributes:
      statuses: the same.
    """

    def __init__(self, statuses: Sequence[int]) -> None:
        faulty = {task: status for task, status in enumerate(statuses) if status != OK}
        of_task = "" if len(statuses) == 1 else "of task {} "
        told = (
            f"status {status} {of_task.format(task)}({MEANINGS.get(status, 'unknown to this client')})"
            for task, status in faulty.items()
        )
        super().__init__("the server could not process the task: " + " ".join(told))
        self.statuses = tuple(statuses)
