"""A method: one choice on each axis, and the variables that come with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import keras
import tensorflow as tf

from cml_tf.adaptation.rule import AdaptationRule, Initial, Schedules, final_values
from cml_tf.episodes import Episode
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.objectives.reducers import MeanOverTasks, TaskReducer
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss

_RESERVED = {"learner", "adaptation", "learner_state", "extractor", "head", "reducer"}


@dataclass(frozen=True)
class Method:
    """A learner, an adaptation rule (with its hypergradient), objective terms and a task reducer.

    A record: its parts are built by `Method.of`, and nothing changes them afterwards.

    Attributes:
      learner: what is adapted and served.
      rule: how it adapts.
      terms: summands of the outer loss; the first one's metrics are the method's own.
      reducer: from the tasks' losses to the outer loss.

    Raises:
      UserError: without terms, or when two terms share a name or take that of another variable group.
    """

    learner: Learner
    rule: AdaptationRule
    terms: tuple[ObjectiveTerm, ...]
    reducer: TaskReducer

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        if not names or len(set(names)) != len(names):
            raise UserError(
                f"a method must have at least one objective term, all with different names, received {names}."
            )
        if taken := sorted(_RESERVED & set(names)):
            raise UserError(f"terms must not have the names of the variable groups of the method, received {taken}.")
        scheduled = [*self.rule.schedules, *(name for term in self.terms for name in term.schedules)]
        if len(set(scheduled)) != len(scheduled):
            raise UserError(f"scheduled numbers must have different names, received {sorted(scheduled)}.")

    @classmethod
    def of(
        cls,
        learner: Learner,
        rule: AdaptationRule,
        terms: Sequence[ObjectiveTerm],
        reducer: TaskReducer | None = None,
    ) -> Self:
        """The method of these parts, all of them built.

        Args:
          learner: what is adapted.
          rule: how.
          terms: of the outer loss.
          reducer: the mean over tasks by default.

        Raises:
          UserError: as of the class, and for parts that do not fit the learner.
        """
        method = cls(learner, rule, tuple(terms), reducer or MeanOverTasks())
        rule.build(learner)
        for term in method.terms:
            term.build(learner)
        method.reducer.build(learner)
        if not method.trained_variables():
            raise UserError("a method must have a trainable variable, but every layer is frozen or has no weights.")
        return method

    def trained_variables(self) -> dict[str, tuple[keras.Variable, ...]]:
        """What the outer loop updates, by group; groups without variables are left out."""
        groups = {"learner": tuple(tf.nest.flatten(tuple(self.learner.variables)))}
        groups["adaptation"] = tuple(self.rule.meta_variables)
        groups.update({term.name: term.variables for term in self.terms if term.trained})
        groups["reducer"] = self.reducer.variables
        return {name: variables for name, variables in groups.items() if variables}

    def all_variables(self) -> dict[str, tuple[keras.Variable, ...]]:
        """Everything a checkpoint must contain: trained variables, frozen ones, and terms that are never trained."""
        groups = dict(self.trained_variables())
        groups["learner_state"] = tuple(tf.nest.flatten(tuple(self.learner.state_variables)))
        groups.update({term.name: term.variables for term in self.terms})
        groups.update({f"{term.name}/constants": term.constants for term in self.terms})
        return {name: variables for name, variables in groups.items() if variables}

    @property
    def schedules(self) -> Schedules:
        """The scheduled numbers of the rule and the terms, by name."""
        of_terms = {name: one for term in self.terms for name, one in term.schedules.items()}
        return {**self.rule.schedules, **of_terms}

    def initial(self, scalars: dict[str, tf.Tensor] | None = None) -> Initial:
        """What adaptation starts from now.

        Args:
          scalars: values of the scheduled numbers by name; what they are after training by default.
        """
        values = final_values(self.schedules) if scalars is None else scalars
        return self.rule.initial(self.learner)._replace(scalars=values)

    def of_first_order(self) -> Method:
        """This method with inner gradients, where there are any, as constants of the outer loop; all is shared."""
        return replace(self, rule=self.rule.of_first_order())

    def with_steps(self, steps: int | None) -> Method:
        """This method with another number of inner steps, with its own if that is None; all is shared.

        Raises:
          UserError: if steps are asked of a rule that takes none.
        """
        return self if steps is None else replace(self, rule=self.rule.with_steps(steps))

    def with_terms(self, names: Sequence[str]) -> Method:
        """This method with the terms of those names alone; everything is shared."""
        return replace(self, terms=tuple(term for term in self.terms if term.name in names))

    def counted(self, weights: Sequence[float]) -> list[tuple[ObjectiveTerm, float]]:
        """The terms that a step must work out, with their weights: not those that weigh, report and own nothing now.

        Args:
          weights: of all terms.
        """
        pairs = zip(self.terms, weights, strict=True)
        return [(term, weight) for term, weight in pairs if weight or term.reported or term.variables]

    def term_values(self) -> tuple[tuple[tf.Tensor, ...], ...]:
        """The current values of every term's variables."""
        return tuple(tuple(tf.convert_to_tensor(variable) for variable in term.variables) for term in self.terms)

    def weights(self, step: int = 0) -> tf.Tensor:
        """The terms' weights at an outer step, `[terms]`."""
        return tf.constant([term.weight_at(step) for term in self.terms], keras.config.floatx())

    def outcome(self, initial: Initial, task: Episode) -> TaskOutcome:
        """Adapts to one task (no task axis)."""
        query_inputs = task.query.inputs if self.rule.uses_query_inputs else None
        adapted = self.rule.adapt(self.learner, initial, task.support, task.context, query_inputs)
        return TaskOutcome(adapted, initial, *task[:2], self.learner, *task[2:])

    def losses(
        self, initial: Initial, term_values: tuple[tuple[tf.Tensor, ...], ...], task: Episode
    ) -> tuple[TermLoss, ...]:
        """Every term's loss on one task."""
        outcome = self.outcome(initial, task)
        return tuple(term(outcome, values) for term, values in zip(self.terms, term_values, strict=True))
