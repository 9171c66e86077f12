"""What a card says to people in each of its cases; a whole card is looked at where one is exported."""

from __future__ import annotations

import pytest

from export.card.markdown import card_markdown

TENSOR = {"dtype": "float32", "shape": [None, None, 4]}
EVALUATION = {"metric": "accuracy", "mean": 0.5, "ci95": 0.0125, "episodes": 600, "seed": 1, "manifest_hash": "e1"}


def card(**changed):
    """A card of a classifier that was trained from Python and not evaluated."""
    return {
        "name": "signs",
        "created": "2026-01-02T03:04:05+00:00",
        "problem": {"ways": 5},
        "inputs": {"shape": [28, 28, 1], "dtype": "float32", "value_range": [0.0, 1.0]},
        "adaptation": {"rule": "SGD", "partition": "all", "steps": 3, "readout": "learner"},
        "queries": {"normalisation": [], "predictions_depend_on_other_queries": False, "measured_difference": 0.0},
        "limits": {"support_examples": None, "queries": None},
        "batching": None,
        "data": {"shots": 1, "queries": 15},
        "training": {},
        "metrics": None,
        "signatures": {"predict": {"inputs": {"query_inputs": TENSOR}, "outputs": {"probabilities": TENSOR}}},
        "status": {"0": "answered"},
        "adapted_state": {
            "length": 1600,
            "dtype": "float32",
            "order": "row-major",
            "entries": [{"name": "head/kernel", "shape": [320, 5], "offset": 0, "size": 1600}],
        },
        "parameters": {"served": 112345, "left_behind": {"co_learner": 1600}},
        "variables_sha256": "ab12",
        "model_fingerprint": 77,
        "git_commit": None,
        "libraries": {"keras": "3.15.0"},
        "config": None,
        **changed,
    }


def test_the_lines_of_a_card():
    lines = card_markdown(card()).splitlines()
    assert lines[0] == "# signs" and lines[2].startswith("Few-shot 5-way classification: the model adapts inside")
    for line in (
        "| data | not recorded: trained from Python, 1 shots, 15 queries per class in training |",
        "| parameters served | 112,345 |",
        "| not exported: co_learner | 1,600 |",
        "- Examples of shape [28, 28, 1], float32, values from 0 to 1.",
        "- Normalisation: none.",
        "- The number of queries is not limited.",
        "### `predict`",
        "| input | `query_inputs` | float32 | any x any x 4 |",
        "| output | `probabilities` | float32 | any x any x 4 |",
        "| 0 | answered |",
        "| `head/kernel` | [320, 5] | 0 | 1600 |",
        "| git commit | not exported from a Git checkout |",
        "| keras | 3.15.0 |",
    ):
        assert line in lines
    headings = [line[3:] for line in lines if line.startswith("## ")]
    assert headings == ["Metrics", "Inputs and queries", "Signatures", "Status of a task", "Adapted state", "Origin"]


LIMITS = "- A task may have at most "
OTHERS = [
    ({"metrics": EVALUATION}, "| accuracy | 0.5000 | ± 0.0125 | 600 | not recorded | 1 |"),
    ({"metrics": {**EVALUATION, "split": "test"}}, "| accuracy | 0.5000 | ± 0.0125 | 600 | test | 1 |"),
    (
        {"limits": {"support_examples": 1000, "queries": 50}},
        f"{LIMITS}1,000 support examples and 50 queries; a larger task gets status 4.",
    ),
    ({"limits": {"support_examples": None, "queries": 50}}, f"{LIMITS}50 queries; a larger task gets status 4."),
    (
        {"batching": {"buckets": [{"support": 5, "query": 10}, {"support": 50, "query": 75}]}},
        "- Exported for servers that batch requests; shape buckets (support examples + queries): 5 + 10, 50 + 75.",
    ),
    (
        {
            "config": {},
            "data": {"fingerprint": "f1", "shots": 1, "queries": 1},
            "training": {"steps": 9, "checkpoint": "best"},
        },
        "| trained | 9 outer steps, checkpoint `best` |",
    ),
    ({"git_commit": "c0ffee+changes"}, "| git commit | `c0ffee+changes` |"),
    # Markdown is no HTML: nothing is escaped that people would then read.
    ({"name": "birds & bees"}, "# birds & bees"),
]


def test_lines_of_other_cards():
    for changed, line in OTHERS:
        text = card_markdown(card(**changed))
        assert line in text.splitlines()
        assert "\n\n\n" not in text and text.endswith("|\n" if "config" not in changed else ".\n")
    lacking = card()
    del lacking["adapted_state"]["order"]
    with pytest.raises(Exception, match="order"):
        card_markdown(lacking)
