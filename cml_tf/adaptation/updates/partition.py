"""Partitions: another update rule for each group of parameters, or none.

ANIL (Raghu et al. 2020, arXiv 1909.09157) adapts the head only, BOIL (Oh et al. 2021, arXiv 2008.08882) the body only.
`FrozenHead` is a rule under another head that stays as it is: how CML-dagger adapts psi through phi (paper, eq. 9).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.updates.update_rule import Gradients, RuleState, UpdateRule
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters

NOTHING = Parameters((), ())


@keras.saving.register_keras_serializable("cml_tf")
class Partition(UpdateRule):
    """Each group is moved by its own rule, or by none: a frozen group gets a zero update.

    A rule sees its own group only. Frozen parameters are still meta-learned by the outer loop.

    Example:
      >>> rule, learner = Partition(extractor=SGD(0.1)), mlp(1, (1,), hidden=(4,))
      >>> [len(group) for group in rule.moved(learner.variables)]
      [2, 0]

    Args:
      extractor: rule for psi, None to freeze it.
      head: rule for theta, None to freeze it. Must be another object than `extractor`.
    """

    def __init__(self, extractor: UpdateRule | None = None, head: UpdateRule | None = None) -> None:
        super().__init__()
        if extractor is not None and extractor is head:
            raise UserError("a partition must have a separate rule object for each group, received one object twice.")
        self.extractor = extractor
        self.head = head

    @property
    def _rules(self) -> dict[str, UpdateRule]:
        groups = {"extractor": self.extractor, "head": self.head}
        return {group: rule for group, rule in groups.items() if rule is not None}

    @property
    def at_seen(self) -> bool:  # type: ignore[override]
        """Whether a group's rule asks for it; to those that leave their parameters as they are both are the same."""
        return any(rule.at_seen for rule in self._rules.values())

    @property
    def leading_steps(self) -> int:  # type: ignore[override]
        """Those of the groups' rules."""
        return max((rule.leading_steps for rule in self._rules.values()), default=0)

    @property
    def by_element(self) -> bool:  # type: ignore[override]
        """Whether the head's rule does: it is there that class rows are."""
        return self.head is not None and self.head.by_element

    @property
    def inner_rate(self) -> float | None:  # type: ignore[override]
        """That of the groups' rules, if it is one."""
        rates = {rule.inner_rate for rule in self._rules.values()}
        return rates.pop() if len(rates) == 1 else None

    def check(self, learner: Learner) -> None:
        """Asks each group's rule, and whether all of them can go together.

        Raises:
          UserError: if one of them cannot, or they make different numbers of leading steps.
        """
        for rule in self._rules.values():
            rule.check(learner)
        if len({rule.leading_steps for rule in self._rules.values()}) > 1:
            raise UserError("the rules of a partition must make equally many leading steps: choose other rules.")

    def build(self, parameters: Parameters) -> None:
        """Builds each group's rule on its group."""
        for group, rule in self._rules.items():
            rule.build(_only(parameters, group))
        self.meta_variables = tuple(v for rule in self._rules.values() for v in rule.meta_variables)

    def moved(self, parameters: Parameters) -> Parameters:
        """What the groups' rules move."""
        parts = {group: getattr(rule.moved(_only(parameters, group)), group) for group, rule in self._rules.items()}
        return NOTHING._replace(**parts)

    def changed(self, parameters: Parameters) -> Parameters:
        """What the groups' rules change."""
        parts = {group: getattr(rule.changed(_only(parameters, group)), group) for group, rule in self._rules.items()}
        return NOTHING._replace(**parts)

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        """The groups' states, side by side."""
        return _joined([rule.init(_only(parameters, group), own) for group, rule, own in self._with_meta(meta)])

    def before_step(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """Every group through its rule; frozen groups as they are."""
        return self._through_rules("before_step", parameters, state, meta)

    def before_prediction(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """Every group through its rule; frozen groups as they are."""
        return self._through_rules("before_prediction", parameters, state, meta)

    def _through_rules(
        self, hook: str, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]
    ) -> Parameters:
        for position, (group, rule, own) in enumerate(self._with_meta(meta)):
            seen = getattr(rule, hook)(_only(parameters, group), _part(state, position), own)
            parameters = parameters._replace(**{group: getattr(seen, group)})
        return parameters

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step of every group's rule."""
        updates, states = NOTHING, []
        for position, (group, rule, own) in enumerate(self._with_meta(meta)):
            group_gradients = Gradients(_only(gradients.parameters, group), gradients.adapted[position])
            update, new_state = rule.update(group_gradients, _part(state, position), _only(parameters, group), own)
            updates = updates._replace(**{group: getattr(update, group)})
            states.append(new_state)
        return updates, _joined(states)

    def _with_meta(self, meta: tuple[tf.Tensor, ...]) -> list[tuple[str, UpdateRule, tuple[tf.Tensor, ...]]]:
        result, start = [], 0
        for group, rule in self._rules.items():
            end = start + len(rule.meta_variables)
            result.append((group, rule, tuple(meta[start:end])))
            start = end
        return result

    def get_config(self) -> dict[str, Any]:
        """The groups' rules, serialised."""
        serialise = keras.saving.serialize_keras_object
        return {
            group: None if rule is None else serialise(rule)
            for group, rule in (("extractor", self.extractor), ("head", self.head))
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Partition:
        """Makes the partition again."""
        restore = keras.saving.deserialize_keras_object
        return cls(**{group: None if rule is None else restore(rule) for group, rule in config.items()})


def anil(rule: UpdateRule) -> Partition:
    """Almost No Inner Loop: only the head adapts.

    Example:
      >>> anil(SGD(0.1)).extractor is None
      True
    """
    return Partition(head=rule)


def boil(rule: UpdateRule) -> Partition:
    """Body Only Inner Loop: only the extractor adapts.

    Example:
      >>> boil(SGD(0.1)).head is None
      True
    """
    return Partition(extractor=rule)


def _only(parameters: Parameters, group: str) -> Parameters:
    return NOTHING._replace(**{group: getattr(parameters, group)})


def _part(state: RuleState, position: int) -> RuleState:
    return RuleState(state.adapted[position], state.carried[position])


def _joined(states: list[RuleState]) -> RuleState:
    return RuleState(tuple(state.adapted for state in states), tuple(state.carried for state in states))


@keras.saving.register_keras_serializable("cml_tf")
class FrozenHead(UpdateRule):
    """Moves the extractor as a rule for the original learner would, and leaves the present head alone.

    The rule goes on to see a head of the shapes it was built for, with zero gradients: its meta-variables for the
    extractor keep their meaning.

    Args:
      rule: the original update rule.
      head_shapes: of the original head's parameters.
    """

    def __init__(self, rule: UpdateRule, head_shapes: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.rule = rule
        self.head_shapes = tuple(map(tuple, head_shapes))
        self.meta_variables = rule.meta_variables

    @property
    def at_seen(self) -> bool:  # type: ignore[override]
        """As the rule."""
        return self.rule.at_seen

    @property
    def leading_steps(self) -> int:  # type: ignore[override]
        """As the rule."""
        return self.rule.leading_steps

    @property
    def by_element(self) -> bool:  # type: ignore[override]
        """No: the head stays, and class rows with it."""
        return False

    @property
    def inner_rate(self) -> float | None:  # type: ignore[override]
        """As the rule."""
        return self.rule.inner_rate

    def check(self, learner: Learner) -> None:
        """Asks the rule."""
        self.rule.check(learner)

    def build(self, parameters: Parameters) -> None:
        """Builds the rule as for the original learner, if that has not been done."""
        self.rule.build(Parameters(parameters.extractor, tuple(tf.zeros(shape) for shape in self.head_shapes)))
        self.meta_variables = self.rule.meta_variables

    def moved(self, parameters: Parameters) -> Parameters:
        """The extractor's parameters that the rule moves; no head."""
        return self.rule.moved(self._padded(parameters))._replace(head=())

    def changed(self, parameters: Parameters) -> Parameters:
        """The extractor's parameters that the rule changes; no head."""
        return self.rule.changed(self._padded(parameters))._replace(head=())

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        """The rule's own state."""
        return self.rule.init(self._padded(parameters), meta)

    def before_step(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """The rule's extractor with the present head."""
        return self.rule.before_step(self._padded(parameters), state, meta)._replace(head=parameters.head)

    def before_prediction(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """The rule's extractor with the present head."""
        return self.rule.before_prediction(self._padded(parameters), state, meta)._replace(head=parameters.head)

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step of the extractor."""
        moves_head = bool(self.rule.moved(self._padded(parameters)).head)
        head = self._zeros(parameters) if moves_head else ()
        padded = Gradients(gradients.parameters._replace(head=head), gradients.adapted)
        updates, state = self.rule.update(padded, state, parameters._replace(head=head), meta)
        return updates._replace(head=()), state

    def _padded(self, parameters: Parameters) -> Parameters:
        return parameters._replace(head=self._zeros(parameters))

    def _zeros(self, parameters: Parameters) -> tuple[tf.Tensor, ...]:
        dtype = next((p.dtype for p in parameters.extractor), tf.float32)
        return tuple(tf.zeros(shape, dtype) for shape in self.head_shapes)

    def get_config(self) -> dict[str, Any]:
        """The rule, serialised, and the shapes."""
        return {"rule": keras.saving.serialize_keras_object(self.rule), "head_shapes": self.head_shapes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FrozenHead:
        """Makes the rule again; it is built with the learner."""
        return cls(keras.saving.deserialize_keras_object(config["rule"]), config["head_shapes"])
