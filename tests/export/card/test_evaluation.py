"""Figures for the model card from what `evaluate` printed."""

from __future__ import annotations

import json

import pytest

from export.card.origin import read_evaluation
from export.errors import ExportError

PRINTED = {"metric": "accuracy", "mean": 0.9, "ci95": 0.01, "episodes": 600, "seed": 0}
PRINTED |= {"manifest_hash": "ab", "split": "test", "readout": "learner"}


REFUSED = [
    ("", "last line"),
    ("a table", "last line"),
    ("[]", "last line"),
    ('{"metric": "accuracy"}', "it lacks mean, ci95"),
    (json.dumps({**PRINTED, "mean": float("nan")}), "must be finite"),
    (json.dumps({**PRINTED, "mean": "high"}), "last line"),
    (json.dumps({**PRINTED, "metric": "mse"}), "received metric mse"),
    (json.dumps({**PRINTED, "readout": "co_learner"}), "readout\\s+co_learner"),
]


def test_all_of_the_output_may_be_in_the_file_and_anything_else_is_refused(tmp_path):
    path = tmp_path / "out"
    path.write_text(f"a table\nof lines\n{json.dumps(PRINTED)}\n")
    assert read_evaluation(path, "accuracy", "learner") == PRINTED
    for text, message in REFUSED:
        path.write_text(text)
        with pytest.raises(ExportError, match=message):
            read_evaluation(path, "accuracy", "learner")
    with pytest.raises(ExportError, match="No such file"):
        read_evaluation(tmp_path / "none", "accuracy", "learner")
