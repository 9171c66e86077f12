"""Omniglot, from its published archives or from folders in their layout."""
