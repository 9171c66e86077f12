"""Measurements that are too long or too noisy for tests."""

# Before TensorFlow, which reads the environment while it is imported.
from cml_tf.system import settings  # noqa: F401
