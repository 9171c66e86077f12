"""Moves a label of a running server to another version, and back, without a moment in which nothing answers."""
