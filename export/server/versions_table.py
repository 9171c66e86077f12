"""What is known of every version of every model: its state, and who is using it. Used on one thread only."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from tensorflow_serving.apis import model_pb2

from export.server.errors import ServingError, invalid
from export.server.servable import Servable


class State(IntEnum):
    """States of a version, numbered as in GetModelStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    """One version of a model.

    Attributes:
      directory: where it stands.
      state: where it is in its life.
      error: why it could not be loaded.
      stamp: what its files looked like when it was loaded last.
      servable: there while the state is AVAILABLE or UNLOADING.
    """

    directory: Path
    state: State = State.START
    error: ServingError | None = None
    stamp: object = None
    servable: Servable | None = None
    _users: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    def acquire(self) -> None:
        """Keeps it loaded until `release`."""
        self._users += 1
        self._idle.clear()

    def release(self) -> None:
        """Ends one use."""
        self._users -= 1
        if self._users == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Returns when nobody uses it."""
        await self._idle.wait()


class VersionsTable:
    """Versions by model and number, and labels."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[int, Version]] = {}
        self.labels: dict[str, dict[str, int]] = {}

    def available(self, model: str) -> dict[int, Version]:
        """The versions of a model that answer."""
        known = self.versions.get(model, {})
        return {number: version for number, version in known.items() if version.state == State.AVAILABLE}

    def select(self, spec: model_pb2.ModelSpec) -> tuple[int, Version]:
        """The version that a request asks for: by number, by label, or the newest.

        Raises:
          ServingError: if there is no such version.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        available = self.available(spec.name)
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            if not available:
                raise ServingError("NOT_FOUND", f"Servable not found for request: Latest({spec.name})")
            number = max(available)
        elif choice == "version_label":
            labels = self.labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            number = labels[spec.version_label]
        else:
            number = spec.version.value
        if number not in available:
            raise ServingError("NOT_FOUND", f"Servable not found for request: Specific({spec.name}, {number})")
        return number, available[number]

    def status(self, spec: model_pb2.ModelSpec) -> list[tuple[int, Version]]:
        """What is known of one version or of all, the newest first; a label counts as none.

        Raises:
          ServingError: if nothing is known.
        """
        known = self.versions.get(spec.name, {})
        if spec.WhichOneof("version_choice") == "version":
            number = spec.version.value
            if number not in known:
                raise ServingError("NOT_FOUND", f"Could not find version {number} of model {spec.name}")
            return [(number, known[number])]
        if not known:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        return sorted(known.items(), key=lambda item: item[0], reverse=True)
