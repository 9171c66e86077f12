"""How sure an answer is: calibrated probabilities, prediction sets, and whether a query is of any class at all."""

from cml_tf.readouts.confidence.calibration import Calibrator
from cml_tf.readouts.confidence.collection import Collected, collect
from cml_tf.readouts.confidence.confidence import Confidence, Knot, Summary, read_confidence
from cml_tf.readouts.confidence.fitting import Asked, fit
from cml_tf.readouts.confidence.measures import measured
from cml_tf.readouts.confidence.open_set import Reading, Score

__all__ = [
    "Asked",
    "Calibrator",
    "Collected",
    "Confidence",
    "Knot",
    "Reading",
    "Score",
    "Summary",
    "collect",
    "fit",
    "measured",
    "read_confidence",
]
