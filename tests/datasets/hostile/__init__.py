"""Hostile and broken input: tables of cases, one folder or file each, for `tests/datasets/test_hostile_input.py`."""
