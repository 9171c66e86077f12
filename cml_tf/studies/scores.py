"""A sweep's results by setting and method: intervals over seeds, and differences on the same episodes."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cml_tf.errors import UserError
from cml_tf.experiments.configuration import flatten
from cml_tf.studies.pictures.intervals import decimal_text
from cml_tf.studies.results import DIVERGED
from cml_tf.system.machine import label
from cml_tf.training.evaluator import confidence_interval

NOT_RECORDED = "not recorded"
# What a sweep sets to a run's seed.
_SEED_KEYS = {"seed", "eval.seed", "dataset.class_seed"}
# The first of these words, since variants may end in one: more_maml.
_RUN_NAME = re.compile(r"(.+?)_(maml|cml)((?:-[^-]+)*)-seed\d+")
Runs = Mapping[int, Mapping[str, Any]]
"""Results of one method by seed, each with `mean`, `metric`, `scores` and `manifest_hash`."""


@dataclass(frozen=True)
class ScoredMethod:
    """What was trained, and how it was read.

    Attributes:
      kind: "maml" or "cml".
      variant: its variants, separated by commas; empty for the plain method.
      evaluation: name of the sweep's further evaluation; empty for the configuration's own.
    """

    kind: str
    variant: str = ""
    evaluation: str = ""

    @property
    def name(self) -> str:
        """`MAML`, `CML:gamma_02`, `CML [co_learner]`."""
        own = self.kind.upper() + (f":{self.variant}" if self.variant else "")
        return f"{own} [{self.evaluation}]" if self.evaluation else own

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it stands in a table: plain methods first, MAML before CML, readings below their run.

        Numbers in a reading's name count as such: 5 steps stand before 10.
        """
        parts = re.split(r"(\d+)", self.evaluation)
        reading = [int(part) if part.isdigit() else part for part in parts]
        return (bool(self.variant), self.variant, self.kind == "cml", reading)


MAML = ScoredMethod("maml")
CML = ScoredMethod("cml")
Setting = Mapping[ScoredMethod, Runs]
"""All methods of one setting, in the order of tables."""


@dataclass(frozen=True)
class OverSeeds:
    """A mean over seeds in the unit of tables, and the half-width of its 95 % interval.

    Attributes:
      mean: over seeds.
      half_width: None for one seed.
      decimals: that are shown.
    """

    mean: float
    half_width: float | None
    decimals: int

    @classmethod
    def of(cls, means: list[float], decimals: int) -> OverSeeds:
        """Of at least one seed's mean."""
        half_width = confidence_interval(np.asarray(means)) if len(means) > 1 else None
        return cls(float(np.mean(means)), half_width, decimals)

    def text(self, sign: str = "") -> str:
        """Mean and half-width; `sign` "+" shows the sign of a positive mean too."""
        after = "(one seed)" if self.half_width is None else f"± {decimal_text(self.half_width, '', self.decimals)}"
        return f"{decimal_text(self.mean, sign, self.decimals)} {after}"


@dataclass(frozen=True)
class Paired:
    """A difference of two methods on the same episodes, in the unit of tables.

    Attributes:
      over_seeds: over the seeds' mean differences.
      over_episodes: half-width over all episodes of all seeds: how well these very runs are told apart.
      seeds: that both have.
    """

    over_seeds: OverSeeds
    over_episodes: float
    seeds: int


@dataclass(frozen=True)
class Diverged:
    """An evaluation without a score.

    Attributes:
      setting: of its run.
      method: what was trained, and how it was read.
      run: its name.
      reason: what the evaluation said.
    """

    setting: str
    method: ScoredMethod
    run: str
    reason: str


def settings(results: Iterable[Mapping[str, Any]]) -> dict[str, Setting]:
    """Methods by setting (`omniglot_5way_1shot`), settings in alphabetical order; without what `diverged` names.

    Raises:
      UserError: for a run whose name has neither `_maml` nor `_cml` or that was changed into the other, and for runs
        of one method whose configurations differ in more than the seed.
    """
    found: dict[str, dict[ScoredMethod, dict[int, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    first: dict[tuple[str, ScoredMethod], Mapping[str, Any]] = {}
    for result in results:
        setting, trained = _trained(result)
        check_alike(first.setdefault((setting, trained), result), result)
        for evaluation, scored in [("", result), *result["evaluations"].items()]:
            if DIVERGED not in scored:
                own = {"run": result["run"], "config": result["config"], **scored}
                found[setting][replace(trained, evaluation=evaluation)][result["seed"]] = own
    return {
        setting: {method: found[setting][method] for method in sorted(found[setting], key=lambda m: m.place)}
        for setting in sorted(found)
    }


def diverged(results: Iterable[Mapping[str, Any]]) -> list[Diverged]:
    """All evaluations that have no score, because adaptation diverged."""
    return [
        Diverged(setting, replace(trained, evaluation=evaluation), result["run"], scored[DIVERGED])
        for result in results
        for setting, trained in [_trained(result)]
        for evaluation, scored in result["evaluations"].items()
        if DIVERGED in scored
    ]


def _trained(result: Mapping[str, Any]) -> tuple[str, ScoredMethod]:
    """The setting of a run, and what was trained in it."""
    # By the run's name, which the sources of all versions lead to.
    named = _RUN_NAME.fullmatch(result["run"])
    if named is None:
        raise UserError(
            "runs in a table must be named SETTING_maml-VARIANTS-seedN or SETTING_cml-VARIANTS-seedN, as in a sweep of "
            f"configs/, received {result['run']!r} of {result['source']}."
        )
    setting, kind, variants = named.groups()
    co_learner = result["config"].get("objective", {}).get("co_learner")
    if co_learner is not None and (co_learner == "none") != (kind == "maml"):
        raise UserError(
            f"{result['run']} is of {result['source']} and was trained with objective.co_learner {co_learner!r}: "
            "run the sweep again with the intended method."
        )
    return setting, ScoredMethod(kind, variants.removeprefix("-").replace("-", ","))


def check_alike(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Seeds of one method differ in nothing else; keys that came after a line was written do not count."""
    there, here = (dict(flatten(result["config"])) for result in (first, other))
    changed = [
        f"{key} ({there[key]!r} and {here[key]!r})"
        for key in there.keys() & here.keys() - _SEED_KEYS
        if there[key] != here[key]
    ]
    if changed:
        raise UserError(
            f"{first['run']} and {other['run']} are seeds of one method but differ in {', '.join(sorted(changed))}: "
            "report their results separately."
        )


def machines(results: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By the machine that trained them (`cml_tf.system.machine.label`), the configuration of each run with variants.

    Runs whose results do not tell are under `NOT_RECORDED`, which stands last.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for result in results:
        machine = result.get("machine")
        setting, method = _trained(result)
        named = f"{setting}_{method.kind}" + (f":{method.variant}" if method.variant else "")
        found[label(machine) if machine else NOT_RECORDED].append(named)
    return {name: found[name] for name in sorted(found, key=lambda name: (name == NOT_RECORDED, name))}


def over_seeds(runs: Runs) -> OverSeeds:
    """The runs' score; there must be at least one."""
    return OverSeeds.of([scale(run) * run["mean"] for run in runs.values()], _decimals(runs))


def baseline(methods: Setting, method: ScoredMethod, against: ScoredMethod = MAML) -> Runs:
    """What a method is compared with: `against`, scored in the same way where it was; empty where it was not run.

    Else its usual score, if that is of the same episodes.

    So ten inner steps are compared with MAML's ten, and a co-learner's answers with MAML's own.
    """
    alike = against if against.evaluation else replace(against, evaluation=method.evaluation)
    if alike in methods:
        return methods[alike]
    own, usual = methods.get(method, {}), methods.get(against, {})
    same = all(own[seed]["manifest_hash"] == usual[seed]["manifest_hash"] for seed in own.keys() & usual.keys())
    return usual if same else {}


def method_named(found: Mapping[str, Setting], name: str) -> ScoredMethod:
    """The method that tables call so.

    Raises:
      UserError: if no setting has it.
    """
    names = {method.name: method for methods in found.values() for method in methods}
    if name not in names:
        raise UserError(f"the method to compare with must be one of {', '.join(names)}, received {name!r}.")
    return names[name]


def paired(runs: Runs, others: Runs) -> Paired | None:
    """`runs` minus `others`; None without a seed that both have.

    Raises:
      UserError: if the two were not scored on the same episodes.
    """
    differences = []
    for seed in sorted(runs.keys() & others.keys()):
        left, right = runs[seed], others[seed]
        if left["manifest_hash"] != right["manifest_hash"]:
            raise UserError(f"{left['run']} and {right['run']} must be scored on the same episodes to be compared.")
        differences.append(scale(left) * (np.asarray(left["scores"]) - np.asarray(right["scores"])))
    if not differences:
        return None
    decimals = min(_decimals(runs), _decimals(others))
    by_seed = OverSeeds.of([float(values.mean()) for values in differences], decimals)
    return Paired(by_seed, confidence_interval(np.concatenate(differences)), len(differences))


def scale(run: Mapping[str, Any]) -> float:
    """What a score is multiplied with in tables: accuracies are shown in per cent."""
    return 100.0 if run["metric"] == "accuracy" else 1.0


def _decimals(runs: Runs) -> int:
    """Two for accuracies in per cent, three for errors; of errors below 0.01 three digits that count."""
    if all(run["metric"] == "accuracy" for run in runs.values()):
        return 2
    mean = abs(float(np.mean([run["mean"] for run in runs.values()])))
    return 2 - math.floor(math.log10(mean)) if 0 < mean < 0.01 else 3
