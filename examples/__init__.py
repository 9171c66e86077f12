"""Whole programs on the library, each in a folder of its own."""

# Before TensorFlow, which reads the environment while it is imported.
from cml_tf.system import settings  # noqa: F401
