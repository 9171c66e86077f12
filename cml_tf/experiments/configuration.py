"""The configuration of an experiment: the options of the members that are chosen, and of no others.

Every key, with its type, range and default, comes from the dataclasses that members register (`cml_tf.registry`) and
from those of `cml_tf.experiments.settings`; docs/CONFIGURATION.md lists them. A configuration file is Python that
defines `get_config(arguments) -> ConfigDict`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import cml_tf.adaptation
import cml_tf.learners
import cml_tf.objectives  # noqa: F401 - what these rooms hold registers when they are imported
from cml_tf.errors import UserError
from cml_tf.experiments import settings as sections
from cml_tf.experiments.renamed_keys import modern
from cml_tf.registry import Choice, ConfigurationError, Key, Settings, faults_of, option_fields
from cml_tf.system.files import parsed_json
from cml_tf.system.renamed import config_source


def keys_of(choice: Choice) -> dict[str, Key]:
    """All keys of a configuration, in its order.

    Raises:
      ConfigurationError: for an unknown dataset, or members that cannot go together.
    """
    if choice.dataset not in sections.EXAMPLES:
        known = ", ".join(sections.EXAMPLES)
        raise ConfigurationError(f"dataset.name must be one of {known}, received {choice.dataset!r}.")
    keys = _keys("", sections.General) | _keys("dataset", sections.dataset_options(choice.dataset))
    keys["dataset.name"] = keys["dataset.name"]._replace(default=choice.dataset)
    return {
        **keys,
        **_keys("learner", sections.LearnerSection),
        **choice.all_keys(),
        **_keys("train", sections.Train, choice.members()),
        **_keys("eval", sections.Evaluation),
    }


def _keys(section: str, options: type, chosen: Mapping[str, Any] | None = None) -> dict[str, Key]:
    found = option_fields(options, chosen or {})
    prefix = f"{section}." if section else ""
    return {prefix + name: Key(kind, described, default, "") for name, kind, described, default in found}


def default_config(choice: Choice | None = None) -> ConfigDict:
    """The keys that a choice has, with their defaults. Unknown ones are errors: the dictionary is locked.

    Raises:
      ConfigurationError: if the members of the choice cannot go together.
    """
    config = ConfigDict()
    for key, described in keys_of(choice or Choice()).items():
        section, _, name = key.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[name] = described.default
    return config.lock()


def check_config(config: ConfigDict) -> None:
    """Raises ConfigurationError for the first value that cannot be run."""
    settings = dict(flatten(config.to_dict()))
    choice = Choice.of(settings)
    keys = keys_of(choice)
    _check_keys(settings, keys, choice)
    for key, described in keys.items():
        if wanted := described.option.fault(settings[key], described.kind):
            raise ConfigurationError(f"{key} must be {wanted}, received {settings[key]!r}.")
    if found := [*sections.faults(settings), *faults_of(choice, settings)]:
        raise ConfigurationError(" Also: ".join(found))


def _check_keys(settings: Settings, keys: Mapping[str, Key], choice: Choice) -> None:
    """What a file may do that makes its own dictionary, or a flag that names another member."""
    if surplus := sorted(settings.keys() - keys.keys()):
        chosen = ", ".join([*(one.name for one in choice.members().values()), *choice.terms])
        raise ConfigurationError(
            f"{surplus[0]} is not an option of the chosen members ({chosen}). Choose members with the words of a "
            "configuration file (configs/glyphs.py:resnet12,meta_sgd) or with "
            "cml_tf.experiments.configuration.default_config(Choice(...))."
        )
    if missing := sorted(keys.keys() - settings.keys()):
        raise ConfigurationError(
            f"the option {missing[0]} of {keys[missing[0]].owner or 'every configuration'} is missing: start from "
            "cml_tf.experiments.configuration.default_config(Choice(...))."
        )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`(dotted key, value)` pairs of a nested mapping; tuples come as lists, as in JSON."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def config_from_json(text: str) -> ConfigDict:
    """A configuration from the JSON that a run wrote, of whatever version.

    Keys that came after the run was written get what was done before there was a key.

    Raises:
      ConfigurationError: if it is not JSON, or has keys or types that this version does not know.
    """
    try:
        loaded, may_be_nobodys = modern(dict(flatten(parsed_json(text))))
        config = default_config(Choice.of(loaded))
        known = dict(flatten(config.to_dict()))
        if unknown := sorted(loaded.keys() - known.keys() - may_be_nobodys):
            raise UserError(
                f"unknown keys: {', '.join(unknown)}. Check whether a later version of cml_tf wrote the file."
            )
        for key, value in ((key, value) for key, value in loaded.items() if key in known):
            section, _, name = key.rpartition(".")
            (config[section] if section else config)[name] = tuple(value) if isinstance(value, list) else value
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigurationError(f"config.json cannot be read: {error}") from error
    return config


def config_to_json(config: ConfigDict) -> dict[str, Any]:
    """The plain dictionary that `config.json` holds."""
    return config.to_dict()


def load_config(source: str) -> ConfigDict:
    """The configuration that a file gives. The file is executed.

    Args:
      source: path of the file, with arguments after a colon: `configs/cora.py:maml,smoke`.

    Raises:
      ConfigurationError: if there is no such file, or it gives something else.
    """
    path, _, arguments = config_source(source).partition(":")
    specification = importlib.util.spec_from_file_location(f"configuration_{Path(path).stem}", path)
    if not Path(path).is_file():
        raise ConfigurationError(
            f"the configuration file {path} does not exist: give its path relative to the working directory."
        )
    if specification is None or specification.loader is None:
        raise ConfigurationError(f"a configuration must be a Python file that ends in .py, received {path}.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    config = module.get_config(arguments) if hasattr(module, "get_config") else None
    if not isinstance(config, ConfigDict):
        raise ConfigurationError(
            f"{path} must define get_config(arguments) -> ConfigDict, received {type(config).__name__}."
        )
    return config
