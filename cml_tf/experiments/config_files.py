"""Configuration files: Python that defines `get_config(variant) -> ConfigDict`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict

from cml_tf.experiments.configuration import ConfigurationError


def load_config(source: str) -> ConfigDict:
    """The configuration that a file gives. The file is executed.

    Args:
      source: path of the file, with a variant after a colon: `configs/x.py:smoke`.

    Raises:
      ConfigurationError: if there is no such file, or it gives something else.
    """
    path, _, variant = source.partition(":")
    specification = importlib.util.spec_from_file_location(f"configuration_{Path(path).stem}", path)
    if not Path(path).is_file() or specification is None or specification.loader is None:
        raise ConfigurationError(f"the configuration file {path} does not exist; paths are from the working directory.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    config = module.get_config(variant) if hasattr(module, "get_config") else None
    if not isinstance(config, ConfigDict):
        raise ConfigurationError(
            f"{path} must define get_config(variant) -> ConfigDict, received {type(config).__name__}."
        )
    return config
