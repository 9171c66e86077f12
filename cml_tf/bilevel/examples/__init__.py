"""Bilevel problems to start from: `python -m cml_tf.bilevel.examples`."""
