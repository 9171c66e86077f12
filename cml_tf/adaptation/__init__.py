"""Adaptation: from an initial learner and a support set to a predictor for the task."""

from cml_tf.adaptation.adapted_learner import AdaptedLearner
from cml_tf.adaptation.gradient_descent import GradientDescent
from cml_tf.adaptation.gradient_flow import GradientFlow
from cml_tf.adaptation.head_rule import HeadRule, HeadTask
from cml_tf.adaptation.hypergradients import (
    AdjointBacksolve,
    AdjointDiscrete,
    AdjointHeun,
    FiniteDifference,
    FirstOrder,
    Hypergradient,
    Implicit,
    InnerLoop,
    Iterate,
    RematerialisedReverse,
    Reverse,
    Solution,
    Truncated,
    make_hypergradient,
)
from cml_tf.adaptation.hypernetwork import Hypernetwork
from cml_tf.adaptation.kernel_ridge import KernelRidge
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial, Scheduled
from cml_tf.adaptation.soft_k_means import SoftKMeans
from cml_tf.adaptation.steepest_descent import SteepestDescent
from cml_tf.adaptation.tangent_kernel import TangentKernel
from cml_tf.adaptation.updates import (
    SGD,
    ContextScaling,
    MetaSGD,
    Partition,
    PerStepRates,
    RuleState,
    UpdateRule,
    anil,
    boil,
)
from cml_tf.registry import import_members

__all__ = [
    "SGD",
    "AdaptationRule",
    "AdaptedLearner",
    "AdaptedTask",
    "AdjointBacksolve",
    "AdjointDiscrete",
    "AdjointHeun",
    "ContextScaling",
    "FiniteDifference",
    "FirstOrder",
    "GradientDescent",
    "GradientFlow",
    "HeadRule",
    "HeadTask",
    "Hypergradient",
    "Hypernetwork",
    "Implicit",
    "Initial",
    "InnerLoop",
    "Iterate",
    "KernelRidge",
    "MetaSGD",
    "Partition",
    "PerStepRates",
    "RematerialisedReverse",
    "Reverse",
    "RuleState",
    "Scheduled",
    "SoftKMeans",
    "Solution",
    "SteepestDescent",
    "TangentKernel",
    "Truncated",
    "UpdateRule",
    "anil",
    "boil",
    "make_hypergradient",
]

import_members(__name__, __path__)
