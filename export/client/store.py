"""A folder of adapted tasks, one file each: kept, listed, and held against what a server has loaded.

The files are those of `Adapted.save`, so `python -m export.client.adapt --output=FOLDER/NAME.npz` adds one.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_name
from export import status
from export.client.adapted import Adapted
from export.client.errors import ClientError, OtherModelError, RequestError, TaskError
from export.client.few_shot_client import FewShotClient
from export.client.graphs import Graph

SUFFIX = ".npz"
SERVED, STALE, GONE = "served", "stale", "not served"


@dataclass(frozen=True)
class Entry:
    """One task of a store.

    Attributes:
      name: of the task.
      model: that adapted to it.
      version: of that model.
      class_names: of a classification; None for a regression.
      bytes: of its file.
      changed: when that was written, in UTC.
    """

    name: str
    model: str
    version: int
    class_names: tuple[str, ...] | None
    bytes: int
    changed: datetime.datetime


class TaskStore:
    """Adapted tasks by name.

    Example:
      >>> with FewShotClient(address, "letters") as client:
      ...     store = TaskStore("tasks")
      ...     store.put("greek", client.adapt(images, names))
      ...     answer = client.predict(store.get("greek"), questions)
      >>> [entry.name for entry in store.entries()]
      ['greek']

    Args:
      folder: made when the first task is put.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, name: str) -> Path:
        """The file of a task.

        Raises:
          ClientError: for a name that cannot be that of a file.
        """
        try:
            fits = class_name(name) == name and not name.startswith(".") and not {"/", "\\"} & set(name)
        except ClassNameError:
            fits = False
        if not fits or len(name.encode()) > 200:
            raise ClientError(
                "the name of a task must be that of a file: 1 to 200 bytes without slashes, no dot in front, received "
                f"{name[:80]!r}."
            )
        return self.folder / f"{name}{SUFFIX}"

    def put(self, name: str, adapted: Adapted) -> None:
        """Keeps a task, in the place of the one that had this name."""
        adapted.save(self.path(name))

    def get(self, name: str) -> Adapted:
        """Reads a task.

        Raises:
          ClientError: if there is none of this name, or its file is damaged.
        """
        path = self._kept(name)
        if not path.is_file():
            known = ", ".join(self.names()[:10]) or "none"
            raise ClientError(f"{self.folder} must contain the task {name}, found {known}: adapt to it first.")
        return Adapted.load(path)

    def remove(self, name: str) -> None:
        """Forgets a task, if it is there."""
        self._kept(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Sorted."""
        # Hidden ones are files that are being written.
        found = [path for path in self.folder.glob(f"*{SUFFIX}") if path.is_file() and path.name[0] != "."]
        return sorted(path.name.removesuffix(SUFFIX) for path in found)

    def entries(self) -> list[Entry]:
        """All tasks, by name.

        Raises:
          ClientError: naming a file that is no adapted task.
        """
        return [self._entry(name) for name in self.names()]

    def _kept(self, name: str) -> Path:
        """The file of a task that may be there: the rule for names is one for what this store writes."""
        try:
            return self.path(name)
        except ClientError:
            # Others write here too: a Mac takes names apart, and export.client.adapt takes the name of any file.
            if name not in self.names():
                raise
            return self.folder / f"{name}{SUFFIX}"

    def _entry(self, name: str) -> Entry:
        path = self.folder / f"{name}{SUFFIX}"
        adapted, about = Adapted.load(path), path.stat()
        changed = datetime.datetime.fromtimestamp(about.st_mtime, datetime.UTC)
        return Entry(name, adapted.model, adapted.version, adapted.class_names, about.st_size, changed)

    def check(self, name: str, client: FewShotClient) -> str:
        """Whether a server can still answer from a task: `served`, `not served`, or `stale` for another model there.

        Args:
          name: of the task.
          client: of its model; it asks one query of nothing but zeros.

        Raises:
          ClientError: if the client is one of another model, the server cannot be reached, or it refuses for another
            reason.
        """
        adapted = self.get(name)
        # Before that model is asked: whether it has a version of that number says nothing of the task.
        if adapted.model != client.model:
            raise ClientError(
                f"the client must be one for {adapted.model}, which adapted to the task {name!r}, received one for "
                f"{client.model}: use a client for {adapted.model}."
            )
        try:
            interface = client.interface_of(adapted.version)
            query: np.ndarray = np.zeros((1, *interface.input_shape), np.float32)
            graph = None
            if interface.node_features is not None:
                query = np.zeros(1, np.int32)
                graph = Graph(np.zeros((1, interface.node_features), np.float32), np.zeros((1, 2), np.int32))
            client.predict(adapted, query, graph)
        except RequestError as error:
            if error.code != "NOT_FOUND":
                raise
            return GONE
        except OtherModelError:
            return STALE
        except TaskError as error:
            # Of all others the state was accepted.
            return STALE if status.STATE_OF_ANOTHER_MODEL in error.statuses else SERVED
        return SERVED
