"""Recipes are thin: their options and defaults are the builders', and each method is the members it names."""

from __future__ import annotations

import inspect

import pytest

import cml_tf
from cml_tf import learners
from cml_tf.adaptation import SGD, FirstOrder, MetaSGD, Partition, PerStepRates, Reverse
from cml_tf.errors import UserError
from cml_tf.objectives import CoLearner, QueryLoss, Reptile
from tests.helpers.few_shot import IMAGE_SHAPE, drawings

LEARNERS = ("conv4", "resnet12", "mlp", "gcn", "sgc")
PROBLEM = cml_tf.Classification(3)


@pytest.mark.parametrize("name", LEARNERS)
def test_options_and_defaults_are_the_builder_s(name):
    completed = ("outputs", "input_shape", "features", "steps")
    of_builder = inspect.signature(getattr(learners, name)).parameters.values()
    expected = {option.name: option.default for option in of_builder if option.name not in completed}
    assert getattr(cml_tf, name)().options == expected


def method_of(recipe, learner, dataset=None):
    dataset = dataset or drawings()
    return recipe.build(learner, dataset, PROBLEM)


def test_a_recipe_knows_the_inner_steps():
    learner = method_of(cml_tf.maml(0.1, steps=4), cml_tf.conv4(filters=2, normalisation="per_step")).learner
    scales = [v for v in learner.variables.extractor if v.name == "scale"]
    assert {v.shape[0] for v in scales} == {4} and learner.example_inputs.shape[1:] == IMAGE_SHAPE


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learner_has_its_co_learner(name):
    layers = getattr(cml_tf, name)().co_learner(PROBLEM, 1).layers
    kinds = [type(layer).__name__ for layer in layers]
    assert ("Convolution" in kinds, kinds[-1]) == (name in ("conv4", "resnet12"), "Linear") and layers[-1].units == 3


def test_a_co_learner_has_no_statistics_of_support_sets_unless_it_is_adapted():
    learner = cml_tf.conv4(filters=2, normalisation="support")
    (_, term) = method_of(cml_tf.cml(0.1, blocks=1), learner).terms
    head = method_of(cml_tf.method("cl", rate=0.1, co_learner_blocks=1), learner).learner.head
    assert term.layer.layers[1].mode == "batch_transductive"
    assert {layer.mode for layer in head._flatten_layers() if isinstance(layer, learners.Normalisation)} == {"support"}


def members(recipe):
    method = method_of(recipe, cml_tf.mlp(hidden=(2,)))
    rule = method.rule
    return type(rule.update_rule), type(rule.hypergradient), [type(term) for term in method.terms]


def test_methods_are_their_members():
    assert members(cml_tf.maml(0.1)) == (SGD, Reverse, [QueryLoss])
    assert members(cml_tf.maml(0.1, first_order=True)) == (SGD, FirstOrder, [QueryLoss])
    assert members(cml_tf.meta_sgd(0.1)) == (MetaSGD, Reverse, [QueryLoss])
    assert members(cml_tf.cml(0.1, update="per_step_rates", steps=2)) == (PerStepRates, Reverse, [QueryLoss, CoLearner])
    assert members(cml_tf.reptile(0.1)) == (SGD, FirstOrder, [QueryLoss, Reptile])
    for recipe, frozen in ((cml_tf.anil(0.1), "extractor"), (cml_tf.boil(0.1), "head")):
        partition = method_of(recipe, cml_tf.mlp(hidden=(2,))).rule.update_rule
        assert isinstance(partition, Partition) and getattr(partition, frozen) is None
    _, term = method_of(cml_tf.cml(0.1, gamma=0.2), cml_tf.mlp(hidden=(2,))).terms
    assert term.weight == 0.2


@pytest.mark.parametrize("names", [("kernel_ridge",), ("soft_k_means",), ("query_mixup",)])
def test_any_member_stands_in_a_recipe(names):
    model = cml_tf.FewShot(cml_tf.mlp(hidden=(2,)), cml_tf.method(*names), ways=3, shots=1, queries=1)
    model.fit(drawings(), steps=1, validation_episodes=0, verbose=0)
    assert 0 <= model.evaluate(drawings(), episodes=2).mean <= 1


REFUSED = {
    "rate must be positive, received 0": lambda: cml_tf.maml(0),
    "rate must be of type float, received 'fast'": lambda: cml_tf.anil("fast"),
    "rate must be finite, received nan": lambda: cml_tf.boil(float("nan")),
    "steps must be 0 or more, received -1": lambda: cml_tf.meta_sgd(0.1, steps=-1),
    "gamma must be 0 or more": lambda: cml_tf.cml(0.1, gamma=-1.0),
    "co-learner where features do not adapt": lambda: cml_tf.cml(0.1, partition="anil"),
    "partition must be one of all, anil, boil, received 'half'": lambda: cml_tf.cml(0.1, partition="half"),
    "a method is made of .*meta_sgd.*; received 'adam'": lambda: cml_tf.cml(0.1, update="adam"),
    "co_learner_blocks must be 0 or more": lambda: cml_tf.cml(0.1, blocks=-1),
    "hypergradient.name must be 'first_order' with reptile": lambda: cml_tf.method("reptile"),
    "are both of the axis 'update'": lambda: cml_tf.method("sgd", "meta_sgd"),
    "the options of this method are bandwidth, ridge, scale; received 'rate'": lambda: cml_tf.method(
        "kernel_ridge", rate=0.1
    ),
    "learner.filters is not an option": lambda: cml_tf.models.LearnerRecipe("mlp", {"filters": 3}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused(message):
    with pytest.raises(UserError, match=message):
        REFUSED[message]()
