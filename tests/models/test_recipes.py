"""Recipes are thin: their options and defaults are the builders', and each method is the members it names."""

from __future__ import annotations

import inspect

import pytest

import cml_tf
from cml_tf import learners
from cml_tf.adaptation import SGD, FirstOrder, MetaSGD, Partition, PerStepRates, Reverse
from cml_tf.errors import UserError
from cml_tf.learners.co_learners import co_learner_of
from cml_tf.models import MethodRecipe
from cml_tf.objectives import CoLearner, QueryLoss, Reptile
from tests.helpers.few_shot import IMAGE_SHAPE, drawings

LEARNERS = ("conv4", "resnet12", "mlp", "gcn", "sgc")
METHODS = {name: getattr(cml_tf, name) for name in ("maml", "cml", "anil", "boil", "meta_sgd", "reptile")}
PROBLEM = cml_tf.Classification(3)


@pytest.mark.parametrize("name", LEARNERS)
def test_options_and_defaults_are_the_builder_s(name):
    completed = ("outputs", "input_shape", "features", "steps")
    of_builder = inspect.signature(getattr(learners, name)).parameters.values()
    expected = {option.name: option.default for option in of_builder if option.name not in completed}
    assert getattr(cml_tf, name)().options == expected


def test_a_recipe_knows_the_inner_steps():
    learner = cml_tf.conv4(filters=2, normalisation="per_step").build(drawings(), 3, inner_steps=4)
    scales = [v for v in learner.variables.extractor if v.name == "scale"]
    assert {v.shape[0] for v in scales} == {4} and learner.example_inputs.shape[1:] == IMAGE_SHAPE


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learner_has_its_co_learner(name):
    recipe = getattr(cml_tf, name)()
    layers = co_learner_of(name, 3, recipe.options, blocks=1).layers
    kinds = [type(layer).__name__ for layer in layers]
    assert ("Convolution" in kinds, kinds[-1]) == (name in ("conv4", "resnet12"), "Linear")
    assert recipe.co_learner(3, 2).layers[-1].units == 3


def test_a_co_learner_has_no_statistics_of_support_sets_unless_it_is_adapted():
    options = cml_tf.conv4(filters=2, normalisation="support").options
    modes = [co_learner_of("conv4", 3, options, adapted=adapted).layers[1].mode for adapted in (False, True)]
    assert modes == ["batch_transductive", "support"]


def members(recipe: MethodRecipe):
    rule = recipe.rule(PROBLEM)
    terms = [type(term) for term in recipe.terms(PROBLEM, None)]
    return type(rule.update_rule), type(rule.hypergradient), terms


def test_methods_are_their_members():
    assert members(cml_tf.maml(0.1)) == (SGD, Reverse, [QueryLoss])
    assert members(cml_tf.maml(0.1, first_order=True)) == (SGD, FirstOrder, [QueryLoss])
    assert members(cml_tf.meta_sgd(0.1)) == (MetaSGD, Reverse, [QueryLoss])
    assert members(cml_tf.cml(0.1, update="per_step_rates", steps=2))[0] is PerStepRates
    assert members(cml_tf.reptile(0.1)) == (SGD, FirstOrder, [QueryLoss, Reptile])
    for recipe, frozen in ((cml_tf.anil(0.1), "extractor"), (cml_tf.boil(0.1), "head")):
        partition = recipe.rule(PROBLEM).update_rule
        assert isinstance(partition, Partition) and getattr(partition, frozen) is None
    layer = cml_tf.mlp().co_learner(3, 2)
    _, term = cml_tf.cml(0.1, gamma=0.2).terms(PROBLEM, layer)
    assert isinstance(term, CoLearner) and (term.weight, term.layer) == (0.2, layer)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_numbers_are_checked(name):
    for options, message in (
        ({"rate": 0}, "rate must be a positive number, received 0"),
        ({"rate": "fast"}, "rate must be a positive number, received 'fast'"),
        ({"rate": float("nan")}, "rate must be a positive number"),
        ({"rate": 0.1, "steps": 0}, "steps must be an integer of at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            METHODS[name](**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1.0}, "gamma must be a number of 0 or more"),
        ({"gamma": 1.0, "partition": "anil"}, "partition must not be 'anil' with a co-learner"),
        ({"partition": "half"}, "partition must be one of all, anil, boil, received 'half'"),
        ({"update": "adam"}, "update must be one of sgd, meta_sgd, per_step_rates"),
        ({"blocks": -1}, "blocks must be an integer of at least 0"),
        ({"reptile": True}, "reptile needs first_order"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        MethodRecipe(rate=0.1, **options)
