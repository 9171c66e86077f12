"""docs/NODES.md: its recipe for a graph of one's own runs as it stands."""

from __future__ import annotations

import pytest

from tests.helpers.documents import ROOT, blocks, run_python, run_shell

NODES = (ROOT / "docs/NODES.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_graph_of_ones_own_is_made_trained_on_exported_and_used(tmp_path):
    first, second = (f"```python\n{block.text}```" for block in blocks(NODES, "python"))
    made = run_python(first, tmp_path)
    assert made.returncode == 0, made.stderr
    (recipe,) = (block.text for block in blocks(NODES, "sh") if block.runs)
    for command in recipe.replace("\\\n", "").strip().splitlines():
        result = run_shell(command.replace("=clubs", f"={tmp_path}/clubs"), tmp_path)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
    used = run_python(second + "\n```python\nprint(probabilities.shape)\n```\n", tmp_path)
    assert used.returncode == 0, used.stderr
    assert used.stdout.strip() == "(6, 2)"
