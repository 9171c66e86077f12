"""What configurations cannot combine rules, hypergradients, terms and normalisations with, and what they say of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cml_tf.experiments.configuration import ConfigurationError, check_config, default_config
from cml_tf.registry import Choice
from tests.helpers.small_configs import changed, load

GLYPHS, CORA, WAVES = "glyphs", "cora", "sinusoid"
PROTOTYPES, PER_STEP = {"learner.head": "prototypes"}, {"learner.normalisation": "per_step"}
SCALING, MIXED, IMPLICIT = (
    "maml,context_scaling",
    "cml,mixed_trajectory",
    Choice(update="sgd", hypergradient="implicit"),
)
ENERGY = Choice(GLYPHS, "conv4", hypergradient="first_order", terms=("tangent_energy",))
HEUN = Choice(GLYPHS, "conv4", update="sgd", hypergradient="adjoint_heun")
BACKSOLVE = replace(HEUN, update="context_scaling", hypergradient="adjoint_backsolve")


def of_rule(name, dataset, learner):
    return Choice(dataset, learner, rule=name)


REFUSED = [
    # Rules without inner steps.
    *(
        (of_rule(name, WAVES, "mlp"), {}, f"adaptation.rule must not be '{name}' for 'sinusoid'")
        for name in ("gradient_flow", "hypernetwork", "steepest_descent")
    ),
    *(
        (of_rule(name, "graph", "gcn"), PROTOTYPES, f"learner.head must be 'linear' with {name}")
        for name in ("gradient_flow", "hypernetwork", "steepest_descent", "tangent_kernel")
    ),
    (of_rule("gradient_flow", GLYPHS, "mlp"), {"adaptation.horizon": 1000.0}, "must be 148.0 or less, received 1000.0"),
    (of_rule("tangent_kernel", GLYPHS, "mlp"), {"adaptation.horizon": 0.0}, "horizon must be positive, received 0.0"),
    (
        of_rule("tangent_kernel", GLYPHS, "conv4"),
        {"learner.normalisation": "support"},
        "normalisation must be one of batch_.*'support'",
    ),
    (
        of_rule("hypernetwork", GLYPHS, "conv4"),
        {"adaptation.equivariant": True, "adaptation.enhanced": False},
        "adaptation.equivariant must be False with adaptation.enhanced False, received True",
    ),
    (
        of_rule("steepest_descent", GLYPHS, "mlp"),
        {"adaptation.positive": -9.0},
        "adaptation.positive must be above adaptation.negative -5.0",
    ),
    # Context scaling.
    ((GLYPHS, f"{SCALING},mlp"), {}, r"learner.name must be one with .*\(conv4, resnet12\) .* received 'mlp'"),
    ((GLYPHS, f"{SCALING},anil"), {}, "adaptation.partition must not be 'anil' with"),
    ((GLYPHS, f"{SCALING},sharp_maml"), {}, "adaptation.sharpness must be 0 with .*, received 0.0005"),
    ((GLYPHS, SCALING), PER_STEP, "learner.normalisation must not be 'per_step' with"),
    ((GLYPHS, SCALING), {"learner.normalisation": "none"}, "takes the length of a kernel out .* received 'none'"),
    ((GLYPHS, SCALING), {"adaptation.steps": 0}, "adaptation.steps must be at least 1 with .*, received 0"),
    # Hypergradients.
    (replace(HEUN, update="per_step_rates"), {}, "adaptation.update must be a rule that remembers nothing"),
    (BACKSOLVE, {}, "adaptation.update must be a rule that remembers nothing"),
    (HEUN, PER_STEP, "learner.normalisation must not be 'per_step'"),
    (replace(IMPLICIT, update="meta_sgd"), {}, r"must be a rule without variables .* received 'meta_sgd'"),
    (IMPLICIT, {"hypergradient.proximity": 0.0}, "hypergradient.proximity must be positive .* received 0"),
    # Terms and reducers.
    (replace(ENERGY, rule="kernel_ridge", hypergradient=None), {}, "adaptation.rule must be a rule with inner steps"),
    (ENERGY, {"adaptation.partition": "anil"}, "adaptation.partition must be 'all' with tangent_energy"),
    (
        ENERGY,
        {"adaptation.class_rows": "shared"},
        "adaptation.class_rows must be 'own' with tangent_energy, .*'shared'",
    ),
    (replace(ENERGY, terms=("reptile",)), {"adaptation.class_rows": "prototypes"}, "must be 'own' with reptile"),
    (replace(ENERGY, update="meta_sgd"), {}, "adaptation.update must be a rule without variables"),
    (replace(ENERGY, hypergradient="reverse"), {}, "hypergradient.name must be 'first_order' with tangent_energy"),
    (ENERGY, PER_STEP, "learner.normalisation must not be 'per_step'"),
    (ENERGY, {"objective.energy_form": "half"}, "objective.energy_form must be one of cross, norm"),
    (
        Choice(GLYPHS, "conv4", "soft_k_means", reducer="task_weights"),
        {},
        "objective.reducer must be 'mean' .*'task_weights' and soft_k_means",
    ),
    (
        Choice(CORA, "gcn", reducer="task_weights"),
        PROTOTYPES,
        "objective.reducer must be 'mean' .*learner.head 'prototypes'",
    ),
    ((GLYPHS, MIXED), {"adaptation.steps": 1}, "adaptation.steps must be at least 2 with mixed_trajectory"),
    ((GLYPHS, MIXED), {"objective.trajectory_step": 6}, r"at most adaptation.steps \(5\), received 6"),
    ((GLYPHS, "maml,tangent_kernel,hidden_mixup"), {}, "mixup_mix must be 'input' with tangent_kernel, .*'hidden'"),
    ((GLYPHS, "maml,all_classes"), {}, "without a head .* received 'gradient_descent'"),
    # Normalisations and pretrained networks.
    (
        (GLYPHS, "maml"),
        {"learner.normalisation": "group", "learner.groups": 5},
        "learner.groups must divide 64,.*received 5",
    ),
    ((WAVES, "maml"), {"learner.normalisation": "group", "learner.groups": 7}, "learner.groups must divide 40"),
    ((WAVES, "maml"), {"learner.normalisation": "tasknorm"}, "must not be 'tasknorm' with mlp"),
    ((CORA, "maml"), {"learner.normalisation": "tasknorm"}, "'tasknorm' with gcn, whose examples have no pixels"),
    ((CORA, "maml"), {**PER_STEP, **PROTOTYPES}, "must not be 'per_step' with prot"),
    ((GLYPHS, "maml,pretrained"), {"learner.weights": ""}, "weights must not be empty unless learner.tuned"),
    (
        (GLYPHS, "maml,pretrained"),
        {"learner.weights": "", "learner.network": "x"},
        r"learner.network must be one of .*\.keras file, received 'x'",
    ),
]


def made(chosen, changes):
    return changed(default_config(chosen) if isinstance(chosen, Choice) else load(*chosen), **changes)


@pytest.mark.parametrize(("chosen", "changes", "fault"), REFUSED)
def test_configurations_that_cannot_be_are_told_why(chosen, changes, fault):
    with pytest.raises(ConfigurationError, match=fault):
        check_config(made(chosen, changes))


def test_the_implicit_function_may_forget_the_start_where_a_head_is_still():
    check_config(made(IMPLICIT, {"hypergradient.proximity": 0.0, "adaptation.partition": "boil"}))
