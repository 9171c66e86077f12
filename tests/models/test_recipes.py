"""Recipes are thin: their options and defaults are the builders', and each method is the members it names."""

from __future__ import annotations

import inspect

import pytest

import cml_tf
from cml_tf import learners
from cml_tf.adaptation import SGD, FirstOrder, MetaSGD, Partition, PerStepRates, Reverse
from cml_tf.errors import UserError
from cml_tf.models import MethodRecipe
from cml_tf.objectives import CoLearner, QueryLoss, Reptile
from tests.helpers.few_shot import IMAGE_SHAPE, drawings

LEARNERS = ("conv4", "resnet12", "mlp", "gcn", "sgc")
METHODS = {name: getattr(cml_tf, name) for name in ("maml", "cml", "anil", "boil", "meta_sgd", "reptile")}
PROBLEM = cml_tf.Classification(3)


@pytest.fixture(scope="module")
def images():
    return drawings()


@pytest.mark.parametrize("name", LEARNERS)
def test_options_and_defaults_are_the_builder_s(name):
    completed = ("outputs", "input_shape", "features", "steps")
    renamed = {"matching": "attribute_matching"}
    of_builder = inspect.signature(getattr(learners, name)).parameters.values()
    options = {option.name: option.default for option in of_builder if option.name not in completed}
    assert getattr(cml_tf, name)().options == {renamed.get(key, key): value for key, value in options.items()}


def test_a_recipe_knows_the_inner_steps(images):
    recipe = cml_tf.conv4(filters=2, normalisation="per_step")
    learner = cml_tf.maml(0.1, steps=4).build(recipe, images, PROBLEM).learner
    scales = [v for v in learner.variables.extractor if v.name == "scale"]
    assert {v.shape[0] for v in scales} == {4} and learner.example_inputs.shape[1:] == IMAGE_SHAPE


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learner_has_its_co_learner(name):
    layers = getattr(cml_tf, name)().co_learner(PROBLEM, 1).layers
    kinds = [type(layer).__name__ for layer in layers]
    assert ("Convolution" in kinds, kinds[-1]) == (name in ("conv4", "resnet12"), "Linear")
    assert layers[-1].units == 3


def test_a_co_learner_has_no_statistics_of_support_sets_unless_it_is_adapted(images):
    recipe = cml_tf.conv4(filters=2, normalisation="support")
    assert recipe.co_learner(PROBLEM, 1).layers[1].mode == "batch_transductive"
    adapted = cml_tf.method_of("cl", rate=0.1).build(recipe, images, PROBLEM).learner
    assert adapted.head.second.layers[1].mode == "support"


def built(recipe: MethodRecipe, images):
    return recipe.build(cml_tf.mlp(hidden=(4,)), images, PROBLEM)


def members(recipe: MethodRecipe, images):
    method = built(recipe, images)
    return type(method.rule.update_rule), type(method.rule.hypergradient), [type(term) for term in method.terms]


def test_methods_are_their_members(images):
    assert members(cml_tf.maml(0.1), images) == (SGD, Reverse, [QueryLoss])
    assert members(cml_tf.maml(0.1, first_order=True), images) == (SGD, FirstOrder, [QueryLoss])
    assert members(cml_tf.meta_sgd(0.1), images) == (MetaSGD, Reverse, [QueryLoss])
    assert members(cml_tf.cml(0.1, update="per_step_rates", steps=2), images)[0] is PerStepRates
    assert members(cml_tf.reptile(0.1), images) == (SGD, FirstOrder, [QueryLoss, Reptile])
    for recipe, frozen in ((cml_tf.anil(0.1), "extractor"), (cml_tf.boil(0.1), "head")):
        partition = built(recipe, images).rule.update_rule
        assert isinstance(partition, Partition) and getattr(partition, frozen) is None
    _, term = built(cml_tf.cml(0.1, gamma=0.2), images).terms
    assert isinstance(term, CoLearner) and term.weight == 0.2


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_numbers_are_checked(name):
    for options, message in (
        ({"rate": 0}, "rate must be .*, received 0"),
        ({"rate": "fast"}, "rate must be .*, received 'fast'"),
        ({"rate": float("nan")}, "rate must be .*, received nan"),
        ({"rate": 0.1, "steps": 0}, "steps must be an integer of at least 1 .*, received 0"),
    ):
        with pytest.raises(UserError, match=message):
            METHODS[name](**options)


REFUSED = {
    "gamma must be .*, received -1.0": lambda: cml_tf.cml(0.1, gamma=-1.0),
    "if the features do not adapt, .*received 'anil'": lambda: cml_tf.cml(0.1, partition="anil"),
    "partition must be one of all, anil, boil": lambda: cml_tf.cml(0.1, partition="half"),
    "the parts of a method must be among .*, received 'adam'": lambda: cml_tf.cml(0.1, update="adam"),
    "co_learner_blocks must be .*, received -1": lambda: cml_tf.cml(0.1, blocks=-1),
    "'first_order' with .*reptile": lambda: cml_tf.method_of("reptile", rate=0.1),
    "'sgd' and 'meta_sgd' cannot be combined": lambda: cml_tf.method_of("sgd", "meta_sgd"),
    "method has no option 'rate' .its options: bandwidth, ridge, scale": lambda: cml_tf.method_of(
        "kernel_ridge", rate=0.1
    ),
    "have no option learner.filters": lambda: cml_tf.models.LearnerRecipe("mlp", {"filters": 3}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused(message):
    with pytest.raises(UserError, match=message):
        REFUSED[message]()


@pytest.mark.parametrize(
    ("name", "rule", "terms"),
    [
        ("kernel_ridge", "KernelRidge", ["query_loss"]),
        ("soft_k_means", "SoftKMeans", ["query_loss"]),
        ("query_mixup", "GradientDescent", ["query_loss", "query_mixup"]),
    ],
)
def test_any_member_stands_in_a_recipe_and_is_trained(name, rule, terms):
    model = cml_tf.FewShot(cml_tf.mlp(hidden=(2,)), cml_tf.method_of(name), ways=3, shots=1, queries=1)
    model.fit(drawings(), steps=1, validation_episodes=0, verbose=0)
    method = model.trainer.method
    assert type(method.rule).__name__ == rule and [term.name for term in method.terms] == terms
    assert len(model.evaluate(drawings(), episodes=2).scores) == 2
