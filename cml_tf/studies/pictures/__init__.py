"""Figures and pages about finished runs: data in, pictures out; nothing here trains or evaluates."""

from cml_tf.system.settings import import_regardless_of_backend

import_regardless_of_backend()
