"""Adaptation by gradient descent on the support loss: MAML's inner loop and all its update rules."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.adapted_learner import AdaptedLearner
from cml_tf.adaptation.class_rows import OWN, PROTOTYPES, ClassRows, masked
from cml_tf.adaptation.hypergradients import FirstOrder, Hypergradient, InnerLoop, Iterate, Reverse
from cml_tf.adaptation.inner_functions import InnerFunctions
from cml_tf.adaptation.observed import Pace, Trace, watched
from cml_tf.adaptation.packing import Specification
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.adaptation.updates.partition import FrozenHead
from cml_tf.adaptation.updates.update_rule import UpdateRule
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.layer_state import check_second_derivatives
from cml_tf.learners.learner import Learner, Parameters, State
from cml_tf.problems import Problem, problem_from_json, problem_to_json


@keras.saving.register_keras_serializable("cml_tf")
class GradientDescent(AdaptationRule):
    """A number of update-rule steps on the mean support loss.

    Example:
      >>> problem = cml_tf.Classification(2)
      >>> rule = GradientDescent(problem, SGD(0.1), steps=3)
      >>> initial = rule.initial(learner)
      >>> tasks = [rule.with_steps(steps).adapt(learner, initial, support, ()) for steps in (0, 3)]
      >>> before, after = (rule.support_loss(problem, task, support) for task in tasks)
      >>> bool(after < before)
      True

    Args:
      problem: gives the support loss. When the learner's outputs are a structure (two heads), their losses are added.
      update_rule: how gradients become updates.
      steps: inner steps, 0 or more; an int32 scalar where only the run of a graph knows them.
      hypergradient: how the outer gradient passes through the steps; `Reverse()` by default.
      sharpness: radius of the ball in whose worst point each inner gradient is taken, 0 for where the parameters are
        (Sharp-MAML, Abbas et al. 2022, arXiv 2206.03996: `theta + radius * g / |g|`, to first order; the way there is
        a constant to the outer gradient).
      class_rows: how the rows of the last layer begin in a task (`cml_tf.adaptation.class_rows`): `own` as each was
        meta-learned; `shared` or `prototypes` for tasks of any number of classes up to `problem.ways`.
      clip_norm: the largest norm of an inner gradient, all adapted tensors together; a longer one is shortened to it.
        0 for none.
    """

    answers_through_head = True

    def __init__(
        self,
        problem: Problem,
        update_rule: UpdateRule,
        steps: int | tf.Tensor = 1,
        hypergradient: Hypergradient | None = None,
        sharpness: float = 0.0,
        class_rows: str = OWN,
        clip_norm: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= clip_norm < float("inf"):
            raise ValueError(f"clip_norm must be 0 (none) or a positive norm, received {clip_norm}.")
        if clip_norm and hypergradient is not None and hypergradient.of_loss:
            raise UserError(
                f"clip_norm must be 0 with the hypergradient {type(hypergradient).__name__}, which takes the inner "
                f"gradient for that of the support loss, received {clip_norm}: use reverse, or leave out one of them."
            )
        if sharpness < 0:
            raise ValueError(f"sharpness must be 0 (none) or a positive radius, received {sharpness}.")
        if sharpness and update_rule.at_seen:
            raise UserError(
                "sharpness must be 0 with an update rule that itself decides where gradients are taken "
                f"({type(update_rule).__name__}), received {sharpness}: leave out one of them."
            )
        self.problem = problem
        self.update_rule = update_rule
        self.steps = _checked_steps(steps)
        self.hypergradient = hypergradient or Reverse()
        self.sharpness = sharpness
        self.rows = None if class_rows == OWN else ClassRows(problem, class_rows)
        self.clip_norm = clip_norm

    @property
    def second_order(self) -> bool:  # type: ignore[override]
        """As the hypergradient says."""
        return self.hypergradient.second_order

    @property
    def vectorisable(self) -> bool:  # type: ignore[override]
        """Whether the inner loop is a straight line in the graph."""
        return self.hypergradient.unrolled and isinstance(self.steps, int)

    @property
    def any_ways(self) -> bool:  # type: ignore[override]
        """Whether class rows begin alike or at prototypes."""
        return self.rows is not None

    @property
    def name(self) -> str:
        """The update rule's."""
        return type(self.update_rule).__name__

    def build(self, learner: Learner) -> None:
        """Makes the update rule's meta-variables.

        Raises:
          UserError: if the meta-gradient needs a second derivative that a layer of the learner has wrong.
        """
        if self.second_order:
            check_second_derivatives(learner.extractor, learner.head)
        self.update_rule.check(learner)
        if self.rows is not None:
            self.rows.check(learner, self.update_rule)
        self.update_rule.build(learner.variables)
        self.hypergradient.check(learner, self.update_rule)
        self.meta_variables = self.update_rule.meta_variables

    def with_steps(self, steps: int | tf.Tensor) -> GradientDescent:
        """This rule with another number of steps; the variables are shared."""
        return self._with(steps=_checked_steps(steps))

    def of_first_order(self) -> GradientDescent:
        """This rule with inner gradients as constants of the outer loop; the variables are shared."""
        return self._with(hypergradient=self.hypergradient.first_order or FirstOrder())

    def through_head(self, head_shapes: tuple[tuple[int, ...], ...]) -> GradientDescent:
        """This rule with updates of the extractor alone, not built yet.

        Raises:
          UserError: if class rows begin anew in every task, which they cannot do in a head that stays as it is.
        """
        if self.rows is not None:
            raise UserError(
                f"class_rows {self.rows.kind!r} needs a head that adapts, which this readout's does not: use the "
                "readout 'learner'."
            )
        return self._with(update_rule=FrozenHead(self.update_rule, head_shapes), meta_variables=())

    def _with(self, **changes: Any) -> GradientDescent:
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def adapts(self, learner: Learner) -> frozenset[str]:
        """The groups that the update rule changes."""
        changed = self.update_rule.changed(learner.variables)
        return frozenset(group for group, variables in changed._asdict().items() if variables)

    def state_spec(self, learner: Learner) -> Specification:
        """Which classes there are (where not all), and the parameters that the update rule changes."""
        changed = tf.nest.flatten(tuple(self.update_rule.changed(learner.variables)))
        names = learner.variable_names
        present = () if self.rows is None else (tf.TensorSpec([self.problem.outputs], tf.float32, "present_classes"),)
        return (*present, *(tf.TensorSpec(v.shape, v.dtype, names[id(v)]) for v in changed))

    def get_config(self) -> dict[str, Any]:
        """Everything but the learner.

        Raises:
          UserError: if the number of steps is a tensor.
        """
        if not isinstance(self.steps, int):
            raise UserError(
                "a rule whose number of inner steps is a tensor cannot be saved: set a number with with_steps."
            )
        # Of a hypergradient only the order counts once there is no training any more, by which layers are refused,
        # unless its steps are its own.
        own_steps = self.hypergradient.first_order is not None
        return {
            "problem": problem_to_json(self.problem),
            "update_rule": keras.saving.serialize_keras_object(self.update_rule),
            "steps": self.steps,
            "sharpness": self.sharpness,
            "clip_norm": self.clip_norm,
            "second_order": self.second_order,
            "hypergradient": keras.saving.serialize_keras_object(self.hypergradient) if own_steps else None,
            "class_rows": OWN if self.rows is None else self.rows.kind,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GradientDescent:
        """Makes the rule again, with the hypergradient `reverse` or `first_order` where those make the same steps."""
        # Models of earlier versions have no word of it.
        own = keras.saving.deserialize_keras_object(config.get("hypergradient"))
        return cls(
            problem_from_json(config["problem"]),
            keras.saving.deserialize_keras_object(config["update_rule"]),
            config["steps"],
            own or (Reverse() if config["second_order"] else FirstOrder()),
            float(config["sharpness"]),
            config.get("class_rows", OWN),
            float(config.get("clip_norm", 0.0)),
        )

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> AdaptedLearner:
        """Runs the inner loop on one task."""

        def predictor(iterate: Iterate) -> AdaptedLearner:
            return self._predictor(learner, iterate, initial.meta, support, context)

        solution = self.hypergradient.solve(self._loop(learner, initial, support, context))
        adapted = predictor(solution.final)
        if (iterates := solution.path) is not None:
            iterates = (iterates[0], *iterates[1 + self.update_rule.leading_steps :])
            adapted.make_path = lambda: [*map(predictor, iterates[:-1]), adapted]
        return adapted

    def first_gradients(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> Parameters:
        """After the steps that are not counted."""
        loop = self._loop(learner, initial, support, context)
        iterate = loop.start
        for _ in range(self.update_rule.leading_steps):
            iterate = loop.next(iterate, second_order=False)
        gradients, _ = loop.field(iterate, loop.meta, support, context, False)
        return gradients.parameters

    @property
    def inner_rate(self) -> float | None:  # type: ignore[override]
        """The update rule's."""
        return self.update_rule.inner_rate

    def check_watched(self) -> None:
        """Raises UserError for hypergradients and update rules whose steps are not counted and scaled one by one."""
        own = self.hypergradient.first_order is not None
        if own or self.update_rule.at_seen or self.update_rule.leading_steps:
            asked = type(self.hypergradient if own else self.update_rule).__name__
            raise UserError(
                f"{asked} does not make plain steps of gradient descent, so nobody else can name how many and how "
                "large they are: leave out most_steps."
            )

    def adapt_watched(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, pace: Pace
    ) -> tuple[AdaptedLearner, Trace]:
        """Runs the inner loop on one task as far as `pace` says; no gradient is meant to pass."""

        def predictor(iterate: Iterate) -> AdaptedLearner:
            return self._predictor(learner, iterate, initial.meta, support, context)

        def loss(iterate: Iterate) -> tf.Tensor:
            return tf.cast(self.support_loss(self.problem, predictor(iterate), support), tf.float32)

        final, trace = watched(self._loop(learner, initial, support, context, pace.scale), loss, pace)
        return predictor(final), trace

    def unadapted(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> AdaptedLearner:
        """The task after no step: what the update rule makes of the initial parameters."""
        return self.with_steps(0).adapt(learner, initial, support, context)

    def state_origin(self, learner: Learner, initial: Initial) -> Sequence[tf.Tensor]:
        """No class (where tasks say which they have), and the initial parameters that the update rule changes."""
        absent = [] if self.rows is None else [tf.zeros([self.problem.outputs])]
        return [*absent, *tf.nest.flatten(tuple(self.update_rule.changed(initial.parameters)))]

    def restore(
        self, learner: Learner, initial: Initial, tensors: Sequence[tf.Tensor], state: State, context: Any
    ) -> AdaptedLearner:
        """The learner with these tensors in the place of the parameters that adaptation changes."""
        present = None if self.rows is None else tensors[0] > 0.5
        groups, remaining = [], list(tensors if present is None else tensors[1:])
        for group, changed in zip(initial.parameters, self.update_rule.changed(initial.parameters), strict=True):
            groups.append(tuple(remaining[: len(changed)]) if changed else group)
            remaining = remaining[len(changed) :]
        return AdaptedLearner(learner, self.update_rule, Parameters(*groups), state, context, present)

    def support_loss(self, problem: Problem, task: AdaptedTask, support: Examples) -> tf.Tensor:
        """What the inner loop lowers: the loss of a pass in training mode, as its steps make."""
        assert task.parameters is not None
        forward = task.learner.call(task.parameters, task.state, support.inputs, task.context, True, support.targets)
        return self._loss(forward.outputs, support.targets)

    def _loop(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, scale: tf.Tensor | None = None
    ) -> InnerLoop:
        self.check_meta(initial)
        functions = InnerFunctions(learner, self.update_rule, self._loss, self.sharpness, self.clip_norm, scale)
        return InnerLoop(
            field=functions.field,
            follow=functions.follow,
            loss=functions.loss,
            moved=lambda parameters: learner.adaptable(self.update_rule.moved(parameters)),
            start=self._start(learner, initial, support, context),
            meta=initial.meta,
            support=support,
            context=context,
            steps=self._all_steps(),
        )

    def _start(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> Iterate:
        """What the first step starts from."""
        rule_state = self.update_rule.init(initial.parameters, initial.meta)
        start = Iterate(initial.parameters, initial.state, rule_state)
        if self.rows is None:
            return start
        features = None
        if self.rows.kind == PROTOTYPES:
            # The state of this pass is left: it is no step.
            seen = self.update_rule.before_step(initial.parameters, rule_state, initial.meta)
            features = learner.call(seen, initial.state, support.inputs, context, True, support.targets).features
        return start._replace(parameters=self.rows.start(learner, initial.parameters, features, support.targets))

    def _all_steps(self) -> int | tf.Tensor:
        """The counted steps, and those before them."""
        steps, leading = self.steps, self.update_rule.leading_steps
        assert steps is not None
        if isinstance(steps, int):
            return steps + leading if steps else 0
        return tf.where(steps > 0, steps + leading, 0) if leading else steps

    def _predictor(
        self, learner: Learner, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any
    ) -> AdaptedLearner:
        parameters = self.update_rule.before_prediction(iterate.parameters, iterate.rule_state, meta)
        state = iterate.state
        if learner.state_follows_parameters:
            # The state that a step leaves behind belongs to the parameters before its update; one more pass over the
            # support set gives that of the parameters which predict.
            state = learner.call(parameters, state, support.inputs, context, True, support.targets).state
        present = None if self.rows is None else self.rows.present(support.targets)
        return AdaptedLearner(learner, self.update_rule, parameters, state, context, present)

    def _loss(self, outputs: Any, targets: tf.Tensor) -> tf.Tensor:
        """Mean loss over the support set, a scalar; summed over the heads of a learner with several."""
        if self.rows is not None:
            outputs = masked(outputs, self.rows.present(targets))
        losses = [tf.reduce_mean(self.problem.losses(output, targets)) for output in tf.nest.flatten(outputs)]
        return tf.add_n(losses)


def _checked_steps(steps: Any) -> int | tf.Tensor:
    """A number of steps: a Python integer, or a tensor that is one."""
    if tf.is_tensor(steps) and steps.shape == () and steps.dtype.is_integer:
        return steps
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"inner steps must be 0 or more, received {steps!r}.")
    return int(steps)
