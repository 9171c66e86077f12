"""A quickstart with a budget of next to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.quickstart.plan import IMAGE_OVERRIDES, WAVE_OVERRIDES, Plan

_TINY = {"train.steps": 2, "train.validate_every": 1, "train.validation_episodes": 2, "train.meta_batch": 1}
_TINY |= {"adaptation.steps": 1, "adaptation.eval_steps": 1}


def small_plan(workdir: Path, **images: Any) -> Plan:
    """Two meta-steps a run."""
    return Plan(
        workdir,
        episodes=4,
        images={**IMAGE_OVERRIDES, **_TINY, "learner.filters": 4, "dataset.queries": 2, "eval.queries": 2, **images},
        waves={**WAVE_OVERRIDES, **_TINY},
    )
