"""The reference of configurations: docs/CONFIGURATION.md, made of what members register.

python -m cml_tf.experiments.reference > docs/CONFIGURATION.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import cml_tf.experiments.variants
import cml_tf.readouts  # noqa: F401 - both register what they hold when they are imported
from cml_tf.experiments import settings as sections
from cml_tf.registry import AFTER_TRAINING, AXES, Choice, Member, Option, members, option_fields, type_name, variants

_TITLES = {
    "learner": "Learners",
    "rule": "Adaptation rules",
    "update": "Update rules of gradient descent",
    "hypergradient": "Hypergradients of gradient descent",
    "objective": "Objectives",
    "reducer": "Task reducers",
}
_AFTER_TRAINING = {
    "readout": "Readouts: `--readout` of evaluation and export",
    "calibration": "Calibrations: `--calibration` of `cml_tf.calibrate`",
    "open_set": "Open-set scores: `--open_set` of `cml_tf.calibrate`",
}
_HEAD = """# Configuration

Generated from the registered members; do not edit. Regenerate it:
`.venv/bin/python -m cml_tf.experiments.reference > docs/CONFIGURATION.md`.

A configuration file accepts words: `configs/omniglot.py:maml,5way,1shot,meta_sgd,smoke`. A word is `maml` or `cml`,
`Nway`, `Nshot`, the name of a member below, or a variant. Only the keys of the chosen members can then be set:
`--config.adaptation.rate=0.1`. The same works from Python: `cml_tf.method_of("meta_sgd", rate=0.1)`.
"""


def configuration_reference() -> str:
    """The document."""
    return "\n".join([_HEAD, *_of_axes(), *_after_training(), *_of_sections(), *_of_variants()])


def _of_axes() -> Iterator[str]:
    for axis, title in _TITLES.items():
        place = AXES[axis]
        yield f"## {title}: `{place.path}`\n"
        for one in members(axis).values():
            yield f"**`{one.name}`**: {one.summary}\n"
            if rows := [*_rows(place.section, one.options, _beside(one))]:
                yield _table(rows)


def _after_training() -> Iterator[str]:
    for axis in AFTER_TRAINING:
        yield f"## {_AFTER_TRAINING[axis]}\n"
        for one in members(axis).values():
            yield f"**`{one.name}`**: {one.summary}\n"


def _beside(one: Member) -> Mapping[str, Member]:
    """A learner that has every option that another member can ask of it."""
    return {**Choice(learner="conv4").members(), one.axis: one}


def _of_sections() -> Iterator[str]:
    yield "## Options of every experiment\n"
    chosen = Choice(learner="conv4").members()
    rows = [*_rows("", sections.General, chosen)]
    rows += _rows("learner", sections.LearnerSection, chosen)
    for options in (sections.Numbers, sections.Images, sections.ImageFolder, sections.Nodes):
        known = {key for key, *_ in rows}
        rows += [row for row in _rows("dataset", options, chosen) if row[0] not in known]
    rows += _rows("train", sections.Train, chosen)
    rows += _rows("eval", sections.Evaluation, chosen)
    yield _table(rows)


def _of_variants() -> Iterator[str]:
    yield "## Variants\n"
    lines = [f"| `{name}` | {one.only or 'all'} | {one.summary} |" for name, one in variants().items()]
    yield "\n".join(["| word | examples | meaning |", "|---|---|---|", *lines, ""])


def _rows(section: str, options: type, chosen: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for name, kind, described, default in option_fields(options, chosen):
        key = f"{section}.{name}" if section else name
        value = "empty" if default in ("", ()) else str(default)
        yield key, value, _range(kind, described), described.text


def _range(kind: Any, described: Option) -> str:
    if described.choices:
        return ", ".join(described.choices)
    low = [f"{described.least} or more"] if described.least is not None else []
    low += [f"above {described.above}"] if described.above is not None else []
    high = [f"{described.most} or less"] if described.most is not None else []
    high += [f"below {described.below}"] if described.below is not None else []
    return ", ".join([type_name(kind), *low, *high])


def _table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = [f"| `{key}` | `{default}` | {kind} | {text} |" for key, default, kind, text in rows]
    return "\n".join(["| key | default | values | meaning |", "|---|---|---|---|", *lines, ""])


if __name__ == "__main__":
    print(configuration_reference(), end="")
