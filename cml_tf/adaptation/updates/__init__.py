"""Update rules: how inner gradients become parameter updates. A new rule is a new file here."""

from cml_tf.adaptation.updates.context_scaling import ContextScaling
from cml_tf.adaptation.updates.partition import Partition, anil, boil
from cml_tf.adaptation.updates.rates import SGD, MetaSGD, PerStepRates
from cml_tf.adaptation.updates.update_rule import Gradients, RuleState, UpdateRule

__all__ = [
    "SGD",
    "ContextScaling",
    "Gradients",
    "MetaSGD",
    "Partition",
    "PerStepRates",
    "RuleState",
    "UpdateRule",
    "anil",
    "boil",
]
