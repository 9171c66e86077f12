"""docs/NODES.md: its recipe for a graph of one's own runs as it stands."""

import pytest

from tests.helpers.documents import read, run_document

NODES = read("docs/NODES.md")


@pytest.mark.slow
def test_a_graph_of_ones_own_is_made_trained_on_and_used(tmp_path):
    assert run_document(NODES, tmp_path).printed.strip() == "(6, 2)"
