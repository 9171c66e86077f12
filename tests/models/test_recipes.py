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
METHODS = ("maml", "cml", "anil", "boil", "meta_sgd", "reptile")
PROBLEM = cml_tf.Classification(3)


@pytest.fixture(scope="module")
def images():
    return drawings()


@pytest.mark.parametrize("name", LEARNERS)
def test_options_and_defaults_are_the_builder_s_and_each_learner_has_its_co_learner(name):
    completed, renamed = ("outputs", "input_shape", "features", "steps"), {"matching": "attribute_matching"}
    of_builder = inspect.signature(getattr(learners, name)).parameters.values()
    options = {option.name: option.default for option in of_builder if option.name not in completed}
    recipe = getattr(cml_tf, name)()
    assert recipe.options == {renamed.get(key, key): value for key, value in options.items()}
    layers = recipe.co_learner(PROBLEM, 1).layers
    kinds = [type(layer).__name__ for layer in layers]
    assert ("Convolution" in kinds, kinds[-1], layers[-1].units) == (name in ("conv4", "resnet12"), "Linear", 3)


def test_a_recipe_knows_the_inner_steps(images):
    recipe = cml_tf.conv4(filters=2, normalisation="per_step")
    learner = cml_tf.maml(0.1, steps=4).build(recipe, images, PROBLEM).learner
    scales = [v for v in learner.variables.extractor if v.name == "scale"]
    assert {v.shape[0] for v in scales} == {4} and learner.example_inputs.shape[1:] == IMAGE_SHAPE


def test_a_co_learner_has_no_statistics_of_support_sets_unless_it_is_adapted(images):
    recipe = cml_tf.conv4(filters=2, normalisation="support")
    assert recipe.co_learner(PROBLEM, 1).layers[1].mode == "batch_transductive"
    adapted = cml_tf.method_of("cl", rate=0.1).build(recipe, images, PROBLEM).learner
    assert adapted.head.second.layers[1].mode == "support"


MEMBERS = {
    "maml": (cml_tf.maml(0.1), SGD, Reverse, [QueryLoss]),
    "maml of first order": (cml_tf.maml(0.1, first_order=True), SGD, FirstOrder, [QueryLoss]),
    "meta_sgd": (cml_tf.meta_sgd(0.1), MetaSGD, Reverse, [QueryLoss]),
    "cml": (cml_tf.cml(0.1, update="per_step_rates", steps=2), PerStepRates, Reverse, [QueryLoss, CoLearner]),
    "reptile": (cml_tf.reptile(0.1), SGD, FirstOrder, [QueryLoss, Reptile]),
    "anil": (cml_tf.anil(0.1), Partition, Reverse, [QueryLoss]),
    "boil": (cml_tf.boil(0.1), Partition, Reverse, [QueryLoss]),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_methods_are_their_members(images, name):
    recipe, *expected = MEMBERS[name]
    method = recipe.build(cml_tf.mlp(hidden=(4,)), images, PROBLEM)
    rule, terms = method.rule, [type(term) for term in method.terms]
    assert [type(rule.update_rule), type(rule.hypergradient), terms] == expected
    if name in ("anil", "boil"):
        assert getattr(rule.update_rule, {"anil": "extractor", "boil": "head"}[name]) is None


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("wrong", [{"rate": 0}, {"rate": float("nan")}, {"steps": 0}], ids=str)
def test_a_method_s_numbers_are_checked(name, wrong):
    ((key, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{key} must be .*, received {value}"):
        getattr(cml_tf, name)(**{"rate": 0.1, **wrong})


REFUSED = {
    "rate must be .*, received 'fast'": lambda: cml_tf.maml("fast"),
    "gamma must be .*, received -1.0": lambda: cml_tf.cml(0.1, gamma=-1.0),
    "features do not adapt.*'anil'": lambda: cml_tf.cml(0.1, partition="anil"),
    "partition must be one of all, anil, boil": lambda: cml_tf.cml(0.1, partition="half"),
    "the parts of a method must be among .*, received 'adam'": lambda: cml_tf.cml(0.1, update="adam"),
    "co_learner_blocks must be .*, received -1": lambda: cml_tf.cml(0.1, blocks=-1),
    "'first_order' with .*reptile": lambda: cml_tf.method_of("reptile", rate=0.1),
    "'sgd' and 'meta_sgd' cannot be combined": lambda: cml_tf.method_of("sgd", "meta_sgd"),
    "'rate' .*bandwidth, ridge, scale": lambda: cml_tf.method_of("kernel_ridge", rate=0.1),
    "no option learner.filters": lambda: cml_tf.models.LearnerRecipe("mlp", {"filters": 3}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused(message):
    with pytest.raises(UserError, match=message):
        REFUSED[message]()


@pytest.mark.parametrize(
    ("names", "terms"),
    {("soft_k_means",): ["query_loss"], ("soft_k_means", "all_classes"): ["query_loss", "all_classes"]}.items(),
)
def test_any_member_stands_in_a_recipe_and_is_trained(names, terms):
    model = cml_tf.FewShot(cml_tf.mlp(hidden=(2,)), cml_tf.method_of(*names), ways=3, shots=1, queries=1)
    model.fit(drawings(), steps=1, validation_episodes=0, verbose=0)
    method = model.trainer.method
    assert type(method.rule).__name__ == "SoftKMeans" and [term.name for term in method.terms] == terms
