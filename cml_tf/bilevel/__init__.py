"""Any bilevel problem, solved by the hypergradients of few-shot learning: lower L(y; x), upper F(y, x)."""

from cml_tf.bilevel.descent_aggregation import DescentAggregation
from cml_tf.bilevel.problem import BilevelProblem
from cml_tf.bilevel.solvers import Solver, UpperGradient, make_solver
from cml_tf.bilevel.upper_gradient import hypergradient

__all__ = ["BilevelProblem", "DescentAggregation", "Solver", "UpperGradient", "hypergradient", "make_solver"]
