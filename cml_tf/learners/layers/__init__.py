"""Layers of the provided learners."""
