"""The file that a server was started with: a ModelServerConfig in text form, edited by versions and labels."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from cml_tf.system.files import Held, atomic_file, locked
from export.rollout.errors import ChangedError, RolloutError


class ConfigFile:
    """A file and what it says of one model.

    Comments at its top survive an edit, others do not. A file that somebody else has changed is not written.

    Args:
      path: of the file.
      model: that is edited.

    Attributes:
      message: the whole file; a server that reloads it serves exactly this.

    Raises:
      RolloutError: if the file cannot be read or does not know the model.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        try:
            self._found = self._present = path.read_bytes()
            self._text = self._found.decode("utf-8-sig")
            self.message = text_format.Parse(self._text, model_server_config_pb2.ModelServerConfig())
        except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
            raise RolloutError(f"{path} must contain a ModelServerConfig in text form: {error}") from error
        models = {config.name: config for config in self.message.model_config_list.config}
        if model not in models:
            raise RolloutError(f"--model must be one of {', '.join(models) or 'none'} from {path}, received {model}.")
        if without := [name for name, config in models.items() if not (config.model_platform or config.model_type)]:
            raise RolloutError(
                f'{path} must set model_platform: "tensorflow" for {", ".join(without)}: servers refuse to reload a '
                "configuration without it."
            )
        self._model = models[model]

    @property
    def labels(self) -> dict[str, int]:
        """Versions by label."""
        return dict(self._model.version_labels)

    @property
    def versions(self) -> set[int] | None:
        """The versions that are asked for by number; None if a policy chooses them."""
        policy = self._model.model_version_policy
        return set(policy.specific.versions) if policy.WhichOneof("policy_choice") == "specific" else None

    def change(self, versions: Iterable[int], labels: dict[str, int]) -> None:
        """Asks for these versions and labels; written by `write`."""
        self._model.model_version_policy.Clear()
        self._model.model_version_policy.specific.versions.extend(sorted(versions))
        self._model.version_labels.clear()
        self._model.version_labels.update(labels)

    def write(self) -> None:
        """Writes what `message` says.

        Raises:
          RolloutError: if it cannot be written, or somebody else has changed the file.
        """
        lines = self._text.splitlines(keepends=True)
        comment = []
        for line in lines:
            if line.strip() and not line.startswith("#"):
                break
            comment.append(line)
        self._write(("".join(comment) + text_format.MessageToString(self.message)).encode())

    def restore(self) -> bool:
        """Brings the message back to what was read, and the file, unless somebody else has changed it.

        Returns:
          Whether the file is as it was.

        Raises:
          RolloutError: if it cannot be written; the message is back all the same.
        """
        self.message.CopyFrom(text_format.Parse(self._text, model_server_config_pb2.ModelServerConfig()))
        try:
            self._write(self._found)
        except ChangedError:
            return False
        return True

    def _write(self, content: bytes) -> None:
        # Under its own name: the path may be a symbolic link, which stays one.
        target = self._path.resolve()
        try:
            if target.read_bytes() != self._present:
                raise ChangedError(
                    f"{self._path} must stay as it is during a rollout, found a change by somebody else: set in it "
                    "what is to be served, then run the rollout again."
                )
            before = target.stat()
            with atomic_file(target, stat.S_IMODE(before.st_mode)) as file:
                _give(file.fileno(), before)
                file.write(content)
        except OSError as error:
            raise RolloutError(f"{self._path} cannot be written: {error.strerror}.") from error
        self._present = content


@contextlib.contextmanager
def opened(path: Path, model: str) -> Iterator[ConfigFile]:
    """A file that no other rollout can open until the block ends; what has the lock is an empty file beside it.

    Args:
      path: of the file.
      model: that is edited.

    Raises:
      RolloutError: as `ConfigFile`, or if another rollout works on the file.
    """
    # Once before the lock: beside a file that cannot be used, nothing is left.
    ConfigFile(path, model)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path.resolve()))
        except Held:
            raise RolloutError(
                f"another rollout works on {path}: wait until it has ended, then run the command again."
            ) from None
        except OSError as error:
            raise RolloutError(
                f"{path} cannot be locked ({error}): pass a file in a directory where you may write."
            ) from error
        yield ConfigFile(path, model)


def _give(descriptor: int, before: os.stat_result) -> None:
    """Gives a file the owner and group of another, as far as this user may: servers must be able to read it."""
    for owner, group in ((before.st_uid, -1), (-1, before.st_gid)):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner, group)
