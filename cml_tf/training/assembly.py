"""From a choice of members to a method: each member builds itself, in the order of the axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras

from cml_tf.learners.learner import Learner
from cml_tf.registry import Choice, Given, Member
from cml_tf.training.method import Method


def assemble(
    choice: Choice,
    given: Given,
    learner: Learner | None = None,
    co_learner: Callable[[int, bool], keras.Layer] | None = None,
) -> Method:
    """The method of the chosen members, built.

    Args:
      choice: of members.
      given: problem, settings and the shape of examples; the rest follows from the choice.
      learner: instead of the choice's.
      co_learner: makes the co-learner from its blocks and whether it is adapted, instead of the learner's own.

    Raises:
      UserError: for parts that cannot be built or do not go together.
    """
    chosen, objectives = choice.members(), choice.objectives()
    given = replace(given, steps=given.settings.get("adaptation.steps", 0), head=chosen["rule"].traits["head"])
    own = co_learner or co_learner_of(chosen["learner"], given)
    given = _with_parts(given, co_learner=own, learner=learner or chosen["learner"].make(given))
    for one in objectives:
        given = _with_parts(given, learner=_extended(one, given))
    for axis in ("update", "hypergradient", "rule"):
        if axis in chosen:
            given = _with_parts(given, **{axis: chosen[axis].make(given)})
    terms = [term for one in objectives for term in one.make(given)]
    return Method.of(given.parts["learner"], given.parts["rule"], terms, chosen["reducer"].make(given))


def co_learner_of(learner: Member, given: Given) -> Callable[[int, bool], keras.Layer]:
    """Makes the co-learner that belongs to a learner, from its blocks and whether the inner loop adapts it."""

    def make(blocks: int, adapted: bool) -> keras.Layer:
        return learner.traits["co_learner"](learner.chosen_options(given.settings), given, blocks, adapted)

    return make


def _with_parts(given: Given, **parts: Any) -> Given:
    return replace(given, parts={**given.parts, **parts})


def _extended(objective: Member, given: Given) -> Learner:
    """The learner as an objective needs it: with a second head, for example."""
    extends, learner = objective.traits["extends"], given.parts["learner"]
    return learner if extends is None else extends(objective.chosen_options(given.settings), given, learner)
