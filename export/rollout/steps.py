"""The steps of a rollout: load beside what is served, wait, move the label, unload what nobody asks for any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from export.rollout.config_file import ConfigFile
from export.rollout.errors import RolloutError
from export.rollout.running_server import AVAILABLE, END, RunningServer, VersionStatus

PREVIOUS, UNLOADING = "_previous", "_unloading_"
_BETWEEN_LOOKS = 0.2


class Rollout:
    """Moves one label of one model, on every server or on none.

    The file is written before the servers are told, so that one that rereads it by itself is told the same. Nothing is
    unloaded before the label has moved on every server, so if a step fails until then, file and servers go back.

    The version that the label pointed to stays loaded under `LABEL_previous`, from where `back` takes it. One that is
    unloaded after the move has the label `LABEL_unloading_VERSION` until then: from a rollout that was killed in
    between, the next one knows that nobody wants it. Versions without a label may be somebody's, and stay.

    Args:
      servers: that serve the file.
      config: the file.
      model: name of the model in it.
      label: that is moved.
      seconds: that loading may take.
      tell: is given one line a step.
    """

    def __init__(
        self,
        servers: Sequence[RunningServer],
        config: ConfigFile,
        model: str,
        label: str,
        seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._servers = servers
        self._config = config
        self._model = model
        self._label = label
        self._previous = label + PREVIOUS
        self._seconds = seconds
        self._tell = tell

    def back(self) -> None:
        """Moves the label to the version before the last rollout; once more undoes that.

        Raises:
          RolloutError: if that version is not known, or as `to`.
        """
        if self._previous not in self._config.labels:
            raise RolloutError(
                f"the configuration has no label {self._previous}, so the previous version of {self._label} is "
                "unknown: pass it with --version."
            )
        self.to(self._config.labels[self._previous])

    def to(self, version: int, unload_old: bool = False) -> None:
        """Moves the label to a version; does nothing new if it is there already.

        Args:
          version: its number, a directory that the servers see.
          unload_old: whether the version before is unloaded, unless another label points to it.

        Raises:
          RolloutError: if a step fails; what was served before is served on, unless the message says that the label has
            moved and that old versions are still loaded.
        """
        labels = self._config.labels
        old = labels.get(self._label)
        before = {server: server.versions(self._model) for server in self._servers}
        loaded = self._wanted(before)
        try:
            self._apply(loaded | {version}, labels)
            self._tell(f"loading version {version} of {self._model} next to {_listed(loaded - {version})}")
            for server in self._servers:
                self._wait(server, version, before[server].get(version))
            self._tell(f"version {version} is AVAILABLE")
            kept, moved = self._after(loaded | {version}, labels, version, unload_old)
            self._apply(loaded | {version}, moved | self._marks((loaded | {version}) - kept))
            self._check(version)
        except BaseException as error:
            self._restore(error)
            raise
        self._tell(f"label {self._label} points to version {version}" + (f" (before: {old})" if old else ""))
        if unloaded := (loaded | {version}) - kept:
            self._unload(kept, moved)
            self._tell(f"unloaded {_listed(unloaded)}, loaded {_listed(kept)}")

    def _wanted(self, before: dict[RunningServer, dict[int, VersionStatus]]) -> set[int]:
        """The versions that are served now, by number: a policy would choose others once a new one is there."""
        chosen = self._config.versions
        if chosen is not None:
            return chosen
        return {
            number for known in before.values() for number, status in known.items() if status.state == AVAILABLE
        } | set(self._config.labels.values())

    def _after(
        self, versions: set[int], labels: dict[str, int], version: int, unload_old: bool
    ) -> tuple[set[int], dict[str, int]]:
        """Versions and labels once the label has moved."""
        old, oldest = labels.get(self._label), labels.get(self._previous)
        marked = self._marks(versions)
        moved = {name: number for name, number in labels.items() if marked.get(name) != number}
        superfluous: set[int | None] = {labels[name] for name in labels.keys() - moved.keys()}
        moved[self._label] = version
        if old is not None and old != version:
            moved[self._previous] = old
            superfluous.add(oldest)
        if unload_old and moved.get(self._previous, version) != version:
            superfluous.add(moved.pop(self._previous))
        return versions - (superfluous - set(moved.values())), moved

    def _marks(self, versions: set[int]) -> dict[str, int]:
        """Labels of versions that are to be unloaded."""
        return {f"{self._label}{UNLOADING}{number}": number for number in versions}

    def _apply(self, versions: set[int], labels: dict[str, int]) -> None:
        self._config.change(versions, labels)
        self._config.write()
        for server in self._servers:
            server.reload(self._config.message, self._seconds)

    def _unload(self, kept: set[int], labels: dict[str, int]) -> None:
        # There is no way back from here: a server that has unloaded a version refuses labels that point to it.
        try:
            self._config.change(kept, labels)
            self._config.write()
            failures = " ".join(self._reload_all())
        except RolloutError as error:
            failures = str(error)
        if failures:
            raise RolloutError(
                f"label {self._label} points to version {labels[self._label]} on every server, but unloading all other "
                f"versions than {_listed(kept)} failed: {failures} Run it again with --version={labels[self._label]}."
            )

    def _wait(self, server: RunningServer, version: int, before: VersionStatus | None) -> None:
        end = time.monotonic() + self._seconds
        while True:
            status = server.versions(self._model).get(version)
            if status is not None and status.state == AVAILABLE:
                return
            # An error from before may be mended by now; only a new one says that waiting is of no use.
            fresh = status is not None and status.state == END and bool(status.error) and status != before
            if fresh or time.monotonic() > end:
                missing = f"was not found: name its directory {version} and put it where the server looks for versions."
                reason = f"is {status}" if status else missing
                raise RolloutError(f"version {version} of {self._model} did not load on {server.address}: it {reason}")
            time.sleep(_BETWEEN_LOOKS)

    def _check(self, version: int) -> None:
        for server in self._servers:
            answering = server.labelled(self._model, self._label)
            if answering != version:
                raise RolloutError(f"{server.address} answers {self._label} with version {answering}, not {version}.")

    def _restore(self, error: BaseException) -> None:
        failures, restored = [], "the file and the servers"
        try:
            if not self._config.restore():
                restored = "the servers, but not the file, which somebody else has changed,"
        except RolloutError as failure:
            failures.append(str(failure))
        # The servers also where the file cannot be written.
        failures += self._reload_all()
        if failures:
            told = str(error) or "interrupted."
            raise RolloutError(f"{told} Restoring the previous state failed too: {' '.join(failures)}") from error
        self._tell(f"restored {restored} to their previous state")

    def _reload_all(self) -> list[str]:
        """Tells every server, also after one that fails; what failed, in sentences."""
        failures = []
        for server in self._servers:
            try:
                server.reload(self._config.message, self._seconds)
            except RolloutError as failure:
                failures.append(str(failure))
        return failures


def _listed(versions: set[int]) -> str:
    return ", ".join(str(number) for number in sorted(versions)) or "none"
