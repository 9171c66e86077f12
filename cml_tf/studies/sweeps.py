"""Sweeps: a list of configurations times seeds, as a file.

A sweep file is JSON and nothing in it is executed but the named files of `configs/`:

    {"configs": ["configs/cora.py:maml,2way,1shot", "configs/cora.py:maml,2way,1shot,g_meta"],
     "seeds": [0, 1, 2],
     "seed_keys": ["seed", "eval.seed", "dataset.class_seed"],
     "overrides": {"train.steps": 300},
     "evaluations": {"co_learner": {"readout": "co_learner"}, "5_steps": {"steps": 5}}}

An override holds for the runs that have its key, such as the inner steps of those that take any; one at least must.

Every run is scored as its configuration says, and once more for each of `evaluations`: on the same episodes, or those
of other classes (`"split": "train"`) or of another dataset (`"dataset": "glyphs"`). One that reads a co-learner is left
out for runs that have none, one with a number of steps for rules that take none. With `"single_queries": true` every
query is predicted alone, but for rules that adapt to the queries. One with `ways` is left out for runs whose model
takes no such number of classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import cml_tf.readouts  # noqa: F401 - what this room holds registers when it is imported
from cml_tf.datasets.base import SPLITS
from cml_tf.errors import UserError
from cml_tf.experiments.arguments import experiment_name
from cml_tf.experiments.configuration import (
    ConfigurationError,
    check_config,
    config_to_json,
    flatten,
    load_config,
)
from cml_tf.experiments.settings import EXAMPLES, alike, sizes_of
from cml_tf.registry import Choice, member, members
from cml_tf.system.files import parsed_json
from cml_tf.system.shipped import shipped_file

# Kind, kind of its items, and what the errors call it.
_KEYS = {
    "configs": (list, str, "a list of at least one configuration file"),
    "seeds": (list, int, "a list of at least one integer"),
    "seed_keys": (list, str, "a list of configuration keys"),
    "overrides": (dict, str, "an object of values by configuration key"),
    "evaluations": (dict, str, "an object of evaluations by name"),
}
_OPTIONAL = {"seed_keys": ["seed", "eval.seed"], "overrides": {}, "evaluations": {}}


@dataclass(frozen=True)
class FurtherEvaluation:
    """How a finished run is scored once more.

    Attributes:
      readout: which head answers (`cml_tf.readouts`).
      steps: inner steps; None for the configuration's.
      split: whose classes (of waves: whose stream) are scored. Of `train` those are the episodes that training begins
        with.
      dataset: another dataset of the same examples to score on (`cml_tf.experiments.runs`); that of the run when empty.
      single_queries: whether every query is predicted alone, as for a client who asks about one example; not for rules
        that adapt to the queries.
      ways: classes an episode, None for the configuration's; like the following.
      shots: support examples a class.
    """

    readout: str = "learner"
    steps: int | None = None
    split: str = "test"
    dataset: str = ""
    single_queries: bool = False
    ways: int | None = None
    shots: int | None = None


class SweepError(UserError):
    """A sweep file, or a file of results, that cannot be used."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
      name: within its sweep, and of its working directory (`cml_tf.experiments.arguments.experiment_name`).
      source: `FILE.py` or `FILE.py:arguments`.
      seed: the value that the seed keys get.
      config: the configuration, overrides and seed applied.
      evaluations: by name, those that apply to this run.
    """

    name: str
    source: str
    seed: int
    config: ConfigDict
    evaluations: Mapping[str, FurtherEvaluation]


def read_sweep(path: Path, overrides: dict[str, Any] | None = None) -> list[SweepRun]:
    """All runs of a sweep file, configurations in the file's order, and their seeds one after the other.

    Args:
      path: of the file; `configs/sweeps/NAME.json` is found in the installed package too.
      overrides: by dotted key, on top of the file's.

    Raises:
      SweepError: if the file cannot be read or names what there is not.
      ConfigurationError: if a configuration cannot be run.
    """
    path = Path(shipped_file(str(path)))
    sweep = _read(path)
    changes = {**sweep["overrides"], **(overrides or {})}
    evaluations = {name: _evaluation(path, name, asked) for name, asked in sweep["evaluations"].items()}
    runs = [
        _run(source, seed, sweep["seed_keys"], changes, evaluations)
        for source in sweep["configs"]
        for seed in sweep["seeds"]
    ]
    known = {key for run in runs for key, _ in flatten(run.config.to_dict())}
    if unknown := sorted(changes.keys() - known):
        raise SweepError(
            f"{path}: overrides must be keys that one of the configurations has, received {unknown[0]!r}: see "
            "docs/CONFIGURATION.md."
        )
    names = [run.name for run in runs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SweepError(f"{path}: each run must appear once, received {repeated[0]} several times.")
    _check_differ(path, runs)
    return runs


def _check_differ(path: Path, runs: list[SweepRun]) -> None:
    # The words of a source may come in any order, and stand in the name as they come.
    by_content: dict[str, SweepRun] = {}
    for run in runs:
        same = by_content.setdefault(json.dumps(config_to_json(run.config), sort_keys=True), run)
        if same is not run:
            raise SweepError(
                f"{path}: each configuration must appear once, received {same.source} and {run.source}, which are the "
                "same: remove one of them."
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        sweep = parsed_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SweepError(f"the sweep file {path} cannot be read: {error}.") from error
    if not isinstance(sweep, dict):
        raise SweepError(f"{path} must contain a JSON object, received {sweep!r}.")
    if unknown := sorted(sweep.keys() - _KEYS.keys()):
        raise SweepError(f"{path} must only have the keys {', '.join(_KEYS)}, received {unknown[0]!r}.")
    sweep = {**_OPTIONAL, **sweep}
    for key, (kind, item, meaning) in _KEYS.items():
        value = sweep.get(key)
        of_kind = isinstance(value, kind) and all(type(one) is item for one in value)
        if not of_kind or (key not in _OPTIONAL and not value):
            raise SweepError(f"{path}: {key} must be {meaning}, received {value!r}.")
    if of_seeds := sorted(sweep["overrides"].keys() & set(sweep["seed_keys"])):
        raise SweepError(
            f"{path}: overrides must not have {of_seeds[0]!r}, which seed_keys sets to the seed of each run: leave it "
            "out of one of them."
        )
    if len(sweep["seeds"]) > 1 and "seed" not in sweep["seed_keys"]:
        raise SweepError(
            f"{path}: seed_keys must contain 'seed', or all runs of a configuration would be the same training, "
            f"received {sweep['seed_keys']}."
        )
    return sweep


def _evaluation(path: Path, name: str, asked: Any) -> FurtherEvaluation:
    if not name:
        raise SweepError(f"{path}: each evaluation must have a name, received '' for {asked!r}.")
    try:
        evaluation = FurtherEvaluation(**asked)
    except TypeError:
        raise SweepError(
            f"{path}: evaluation {name!r} must only have readout, steps, split, dataset, single_queries, ways and "
            f"shots, received {asked!r}."
        ) from None
    if not isinstance(evaluation.readout, str) or evaluation.readout not in members("readout"):
        raise SweepError(
            f"{path}: the readout of evaluation {name!r} must be one of {', '.join(members('readout'))}, received "
            f"{evaluation.readout!r}."
        )
    if evaluation.split not in SPLITS:
        raise SweepError(
            f"{path}: the split of evaluation {name!r} must be one of {', '.join(SPLITS)}, received "
            f"{evaluation.split!r}."
        )
    if not isinstance(evaluation.single_queries, bool):
        raise SweepError(
            f"{path}: single_queries of evaluation {name!r} must be true or false, received "
            f"{evaluation.single_queries!r}."
        )
    for number, least in (("steps", 0), ("ways", 2), ("shots", 1)):
        value = getattr(evaluation, number)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise SweepError(
                f"{path}: the {number} of evaluation {name!r} must be {least} or more, received {value!r}."
            )
    return evaluation


def _run(
    source: str,
    seed: int,
    seed_keys: list[str],
    overrides: dict[str, Any],
    evaluations: Mapping[str, FurtherEvaluation],
) -> SweepRun:
    plain = load_config(source)
    config = plain.copy_and_resolve_references()
    known = dict(flatten(config.to_dict()))
    own = {key: value for key, value in overrides.items() if key in known}
    try:
        values = {**own, **dict.fromkeys(seed_keys, seed)}
        config.update_from_flattened_dict({k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{source}: {error}") from error
    check_config(config)
    # Overrides are the whole sweep's, and in no name.
    name = f"{experiment_name(source, plain)}-seed{seed}"
    return SweepRun(name, source, seed, config, _fitting(evaluations, source, config))


def _fitting(
    evaluations: Mapping[str, FurtherEvaluation], source: str, config: ConfigDict
) -> dict[str, FurtherEvaluation]:
    """The evaluations that a run can have."""
    settings = dict(flatten(config.to_dict()))
    alone = not Choice.of(settings).has_co_learner
    traits = member("rule", settings["adaptation.rule"]).traits
    with_ways = [name for name, one in evaluations.items() if one.ways is not None]
    if with_ways and EXAMPLES[config.dataset.name] == "numbers":
        raise SweepError(
            f"{source}: ways is for classifications, received evaluation {with_ways[0]!r} with ways for a regression: "
            "leave it out."
        )
    for name, one in evaluations.items():
        if one.dataset not in ("", *alike(config.dataset.name)):
            raise SweepError(
                f"{source}: the dataset of evaluation {name!r} must be one of "
                f"{', '.join(alike(config.dataset.name)) or 'none'}, received {one.dataset!r}."
            )
    return {
        name: one
        for name, one in evaluations.items()
        if not (alone and member("readout", one.readout).traits["needs_co_learner"])
        and (traits["steps"] or one.steps is None)
        and not (one.single_queries and traits["transductive"](settings))
        and (one.ways is None or _has_room(config, one.ways, traits["any_ways"](settings)))
    }


def _has_room(config: ConfigDict, ways: int, any_ways: bool) -> bool:
    """Whether the model of a run takes tasks of so many classes."""
    room = sizes_of(config.dataset)[0][1]
    return ways == room or (any_ways and ways < room)
