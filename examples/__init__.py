"""Whole programs on the library, each in a folder of its own."""
