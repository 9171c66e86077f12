"""Update rules: how inner gradients become parameter updates. A new rule is a new file here."""

from cml_tf.adaptation.update_rules.base import Gradients, RuleState, UpdateRule
from cml_tf.adaptation.update_rules.meta_sgd import MetaSGD
from cml_tf.adaptation.update_rules.partition import Partition, anil, boil
from cml_tf.adaptation.update_rules.per_step_rates import PerStepRates
from cml_tf.adaptation.update_rules.sgd import SGD

__all__ = ["SGD", "Gradients", "MetaSGD", "Partition", "PerStepRates", "RuleState", "UpdateRule", "anil", "boil"]
