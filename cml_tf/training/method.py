"""A method: one choice on each axis, and the variables that come with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from cml_tf.adaptation.rule import AdaptationRule, Initial
from cml_tf.episodes import Episode
from cml_tf.learners.learner import Learner
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TaskReducer, TermLoss, mean_over_tasks

_RESERVED = {"learner", "adaptation", "learner_state"}


class Method:
    """A learner, an adaptation rule (with its hypergradient), objective terms and a task reducer.

    Args:
      learner: what is adapted and served.
      rule: how it adapts.
      terms: summands of the outer loss; the first one's metrics are the method's own.
      reducer: `[tasks]` losses to a scalar.

    Raises:
      ValueError: without terms, or when two terms share a name or take that of another variable group.
    """

    def __init__(
        self,
        learner: Learner,
        rule: AdaptationRule,
        terms: Sequence[ObjectiveTerm],
        reducer: TaskReducer = mean_over_tasks,
    ) -> None:
        names = [term.name for term in terms]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a method needs objective terms of different names, received {names}.")
        if taken := sorted(_RESERVED & set(names)):
            raise ValueError(f"terms must not be named as the method's own variable groups are, received {taken}.")
        self.learner = learner
        self.rule = rule
        self.terms = tuple(terms)
        self.reducer = reducer
        rule.build(learner)
        for term in terms:
            term.build(learner)

    def trained_variables(self) -> dict[str, tuple[keras.Variable, ...]]:
        """What the outer loop updates, by group; groups without variables are left out."""
        groups = {"learner": tuple(tf.nest.flatten(tuple(self.learner.variables)))}
        groups["adaptation"] = tuple(self.rule.meta_variables)
        groups.update({term.name: term.variables for term in self.terms if term.trained})
        return {name: variables for name, variables in groups.items() if variables}

    def all_variables(self) -> dict[str, tuple[keras.Variable, ...]]:
        """Everything a checkpoint must hold: trained variables, frozen ones, and terms that are never trained."""
        groups = dict(self.trained_variables())
        groups["learner_state"] = tuple(tf.nest.flatten(tuple(self.learner.state_variables)))
        groups.update({term.name: term.variables for term in self.terms})
        groups.update({f"{term.name}/constants": term.constants for term in self.terms})
        return {name: variables for name, variables in groups.items() if variables}

    def of_first_order(self) -> Method:
        """This method with inner gradients, where there are any, as constants of the outer loop; all is shared."""
        return Method(self.learner, self.rule.of_first_order(), self.terms, self.reducer)

    @property
    def counted_terms(self) -> tuple[ObjectiveTerm, ...]:
        """The terms that a step must work out: not those that weigh, report and own nothing now."""
        return tuple(term for term in self.terms if term.weight or term.reported or term.variables)

    def with_terms(self, names: Sequence[str]) -> Method:
        """This method with the terms of those names alone; everything is shared."""
        return Method(self.learner, self.rule, [term for term in self.terms if term.name in names], self.reducer)

    def term_values(self) -> tuple[tuple[tf.Tensor, ...], ...]:
        """The current values of every term's variables."""
        return tuple(tuple(tf.convert_to_tensor(variable) for variable in term.variables) for term in self.terms)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Gives terms other weights, by name; KeyError for a name that no term has."""
        terms = {term.name: term for term in self.terms}
        for name, weight in weights.items():
            terms[name].weight = weight

    def weights(self) -> tf.Tensor:
        """The terms' weights as they are now, `[terms]`."""
        return tf.constant([term.weight for term in self.terms], keras.config.floatx())

    def outcome(self, initial: Initial, task: Episode) -> TaskOutcome:
        """Adapts to one task (no task axis)."""
        query_inputs = task.query.inputs if self.rule.uses_query_inputs else None
        adapted = self.rule.adapt(self.learner, initial, task.support, task.context, query_inputs)
        return TaskOutcome(adapted, initial, task.support, task.query)

    def losses(
        self, initial: Initial, term_values: tuple[tuple[tf.Tensor, ...], ...], task: Episode
    ) -> tuple[TermLoss, ...]:
        """Every term's loss on one task."""
        outcome = self.outcome(initial, task)
        return tuple(term(outcome, values) for term, values in zip(self.terms, term_values, strict=True))
