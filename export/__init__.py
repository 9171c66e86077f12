"""SavedModels that hold the adaptation itself, and what serves them. Imports `cml_tf`; `cml_tf` never imports this."""

# Before TensorFlow, which reads the environment while it is imported.
from cml_tf.system import settings  # noqa: F401
