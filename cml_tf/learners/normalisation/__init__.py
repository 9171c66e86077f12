"""Normalisation whose statistics belong to a task, and arithmetic that is quick to differentiate twice."""
