"""Experiments: from a configuration to a run in a working directory, and back."""
