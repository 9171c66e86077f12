"""docs/NODES.md: its recipe for a graph of one's own runs as it stands."""

import pytest

from tests.helpers.documents import ROOT, blocks, run_python, run_shell

NODES = (ROOT / "docs/NODES.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_graph_of_ones_own_is_made_trained_on_exported_and_used(tmp_path):
    first, second = (f"```python\n{block.text}```" for block in blocks(NODES, "python"))
    run_python(first, tmp_path)
    (recipe,) = (block.text for block in blocks(NODES, "sh") if block.runs)
    run_shell(recipe.replace("=clubs", f"={tmp_path}/clubs"), tmp_path)
    used = run_python(second + "\n```python\nprint(probabilities.shape)\n```\n", tmp_path)
    assert used.strip() == "(6, 2)"
