"""The embedded server: what TensorFlow Serving answers, on one machine without Docker. `python -m export.serve`."""
