"""Results of a sweep, made by hand."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

SETTING = "cora_2way_1shot"


def result(
    method: str,
    seed: int,
    scores: tuple[float, ...],
    variant: str = "",
    metric: str = "accuracy",
    manifest: str | None = None,
    evaluations: dict[str, dict[str, Any]] | None = None,
    setting: str = SETTING,
    config: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One run's line."""
    data, *episodes = re.split(r"_(?=\d+(?:way|shot))", setting)
    source = f"configs/{data}.py:{','.join(filter(None, (method, *episodes, variant)))}"
    own = {"metric": metric, "manifest_hash": manifest or f"episodes of seed {seed}", "episodes": len(scores)}
    further = {
        name: {**own, "mean": float(np.mean(values["scores"])), **values} if "scores" in values else values
        for name, values in (evaluations or {}).items()
    }
    return {
        "run": "-".join([f"{setting}_{method}", *filter(None, variant.split(",")), f"seed{seed}"]),
        "source": source,
        "seed": seed,
        "scores": list(scores),
        "mean": float(np.mean(scores)),
        "steps": 300,
        **own,
        "evaluations": further,
        "config": config or {},
    }


MAML_SCORES = {0: (0.5, 0.7), 1: (0.6, 0.6), 2: (0.4, 0.6)}
CML_SCORES = {0: (0.6, 0.8), 1: (0.6, 0.7), 2: (0.6, 0.6)}
RESULTS = [
    *(result("maml", seed, scores) for seed, scores in MAML_SCORES.items()),
    *(result("cml", seed, scores) for seed, scores in CML_SCORES.items()),
]
