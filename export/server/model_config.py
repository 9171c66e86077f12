"""Which models and versions are served: TensorFlow Serving's ModelServerConfig, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from export.server.errors import invalid

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelConfig:
    """One model.

    Attributes:
      name: that clients ask for.
      base_path: the directory that holds its versions.
      newest: how many of the newest whole versions are served; None for those in `specific`, or all if that is empty.
      specific: the versions served, if `newest` is None.
      labels: names of versions.
    """

    name: str
    base_path: Path
    newest: int | None = 1
    specific: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)

    def candidates(self, versions: Iterable[int]) -> list[int]:
        """Those of the versions on disk that may be served, the newest first: the first `newest` that load are."""
        ordered = sorted(versions, reverse=True)
        return [version for version in ordered if not self.specific or version in self.specific]


def read_config(path: Path) -> dict[str, ModelConfig]:
    """The models of a file in text form.

    Raises:
      ServingError: if it cannot be read.
    """
    try:
        message = text_format.Parse(path.read_text("utf-8-sig"), model_server_config_pb2.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise invalid(f"{path} must contain a ModelServerConfig in text form: {error}") from error
    return from_message(message)


def from_message(message: model_server_config_pb2.ModelServerConfig) -> dict[str, ModelConfig]:
    """The models of a message, by name.

    Raises:
      ServingError: if it names a model twice, or asks for what this server cannot do.
    """
    models: dict[str, ModelConfig] = {}
    if message.WhichOneof("config") == "custom_model_config":
        raise invalid("custom_model_config is not supported: use model_config_list.")
    for config in message.model_config_list.config:
        if config.name in models:
            raise invalid(f"Illegal to list model {config.name} multiple times in config list")
        if not config.name:
            raise invalid("every model must have a name, received one without.")
        if not Path(config.base_path).is_absolute():
            raise invalid(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )
        if config.model_platform not in ("", PLATFORM):
            # The words of a server that had the model before, which is the case in practice.
            raise invalid(
                f"Illegal to change a model's platform. For model {config.name} platform was {PLATFORM} and new "
                f"platform requested is {config.model_platform}"
            )
        models[config.name] = _model(config)
    return models


def check_reload(message: model_server_config_pb2.ModelServerConfig) -> None:
    """What TensorFlow Serving asks of a configuration that it is sent; in a file, the platform goes without saying.

    Raises:
      ServingError: in its words, if there is no list of models (an empty one will do), or a model without platform.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    for config in message.model_config_list.config:
        if not config.model_platform and config.model_type != model_server_config_pb2.ModelType.TENSORFLOW:
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                "ModelServerConfig::model_platform."
            )


def _model(config: model_server_config_pb2.ModelConfig) -> ModelConfig:
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    newest: int | None = None
    specific: frozenset[int] = frozenset()
    if kind == "specific":
        specific = frozenset(policy.specific.versions)
        if not specific:
            raise invalid(f"the policy of model {config.name} must list at least one version, received none.")
    elif kind != "all":
        newest = policy.latest.num_versions or 1
    return ModelConfig(config.name, Path(config.base_path), newest, specific, dict(config.version_labels))
