"""What a served model computes: its graph, its signatures."""
