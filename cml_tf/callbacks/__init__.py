"""Keras callbacks: the model they are given, their state across interruptions, and the callbacks of a run."""
