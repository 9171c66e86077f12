"""A few-shot model on a device: one file to copy there, which needs NumPy and an interpreter of LiteRT."""
