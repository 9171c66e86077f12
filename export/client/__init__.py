"""Asks a server to learn from a few examples: TensorFlow Serving, or `python -m export.serve`."""

from export.client.adapted import Adapted
from export.client.answers import Answer
from export.client.errors import ClientError, RequestError, TaskError
from export.client.few_shot_client import FewShotClient
from export.client.interface import Settings
from export.client.packing import Task
from export.client.store import TaskStore
from export.client.trace import Trace

__all__ = [
    "Adapted",
    "Answer",
    "ClientError",
    "FewShotClient",
    "RequestError",
    "Settings",
    "Task",
    "TaskError",
    "TaskStore",
    "Trace",
]
