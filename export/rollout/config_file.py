"""The file that a server was started with: a ModelServerConfig in text form, edited by versions and labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from cml_tf.system.files import write_text
from export.rollout.errors import RolloutError


class ConfigFile:
    """A file and what it says of one model.

    Comments at its top survive an edit, others do not.

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
            self._text = path.read_text("utf-8-sig")
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
          RolloutError: if it cannot be written.
        """
        lines = self._text.splitlines(keepends=True)
        comment = []
        for line in lines:
            if line.strip() and not line.startswith("#"):
                break
            comment.append(line)
        self._write("".join(comment) + text_format.MessageToString(self.message))

    def restore(self) -> None:
        """Brings the file and the message back to what was read."""
        self.message.CopyFrom(text_format.Parse(self._text, model_server_config_pb2.ModelServerConfig()))
        self._write(self._text)

    def _write(self, text: str) -> None:
        try:
            write_text(self._path, text)
        except OSError as error:
            raise RolloutError(f"{self._path} cannot be written: {error.strerror}.") from error
