"""The modes of normalisation, a file each: what registers here is a word of `learner.normalisation`."""

from cml_tf.registry import import_members

import_members(__name__, __path__)
