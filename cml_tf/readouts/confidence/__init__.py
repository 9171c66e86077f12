"""How sure an answer is: calibrated probabilities, prediction sets, and whether a query is of any class at all."""

from cml_tf.readouts.confidence.calibration import Calibrator
from cml_tf.readouts.confidence.collection import Collected, collect
from cml_tf.readouts.confidence.confidence import Confidence, Knot, Summary, read_confidence
from cml_tf.readouts.confidence.fitting import BEST, Asked, Fitted, belonging_to, fit
from cml_tf.readouts.confidence.measures import Measured, discrimination, measured
from cml_tf.readouts.confidence.open_set import Reading, Score

__all__ = [
    "BEST",
    "Asked",
    "Calibrator",
    "Collected",
    "Confidence",
    "Fitted",
    "Knot",
    "Measured",
    "Reading",
    "Score",
    "Summary",
    "belonging_to",
    "collect",
    "discrimination",
    "fit",
    "measured",
    "read_confidence",
]
