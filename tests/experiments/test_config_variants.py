"""Every variant of the files in configs/ builds and makes steps."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.episodes import Episode, Examples
from cml_tf.experiments.variants import VARIANTS
from cml_tf.graphs import graph_context
from cml_tf.learners import Normalisation
from cml_tf.learners.layers.initialisation import INITIALISATIONS
from cml_tf.objectives import CoLearner
from tests.helpers.random_graphs import random_graph
from tests.helpers.seeded_episodes import classification_episode, regression_episode
from tests.helpers.small_configs import IMAGE_SHAPE, NODE_FEATURES, load, trainer_of

RULES = ("sgd", "meta_sgd", "anil", "boil")
SMOKE = [
    *itertools.product(("sinusoid",), RULES, ("mlp",), ("maml",)),
    # A co-learner on features that do not adapt is refused.
    *itertools.product(("sinusoid",), ("sgd", "meta_sgd", "boil"), ("mlp",), ("cml",)),
    *itertools.product(("glyphs",), ("sgd", "meta_sgd", "boil"), ("conv4",), ("cml",)),
    *itertools.product(("glyphs",), ("sgd", "anil"), ("conv4",), ("maml",)),
    ("glyphs", "meta_sgd", "mlp", "cml"),
    ("omniglot", "sgd", "conv4", "cml"),
]


def episode_of(config):
    settings, tasks = config.dataset, config.train.meta_batch
    if settings.name == "sinusoid":
        return regression_episode(tasks=tasks, shots=settings.shots, queries=settings.queries, inputs=1)
    if settings.name in NODE_FEATURES:
        return episode_on(random_graph(50, NODE_FEATURES[settings.name]), tasks)
    return classification_episode(
        tasks=tasks, ways=settings.ways, shots=settings.shots, queries=settings.queries, shape=IMAGE_SHAPE
    )


def episode_on(graph, tasks):
    nodes = np.arange(tasks * 8, dtype=np.int32).reshape(tasks, 8)
    labels = np.tile([0, 1], (tasks, 4)).astype(np.int32)
    parts = (Examples(tf.constant(nodes[:, part]), tf.constant(labels[:, part])) for part in (slice(2), slice(2, 8)))
    return Episode(*parts, graph_context(graph, 1, normalise_features=False))


def steps_of(config, count=2):
    """Makes some steps; returns the variables before and after, by group."""
    trainer = trainer_of(config)
    before = {group: [v.numpy() for v in group_] for group, group_ in trainer.method.all_variables().items()}
    history = trainer.fit([episode_of(config)] * count, count, verbose=0)
    assert trainer.meta_step.traces == 1
    assert all(np.isfinite(value).all() for value in history.values())
    after = {group: [v.numpy() for v in group_] for group, group_ in trainer.method.all_variables().items()}
    return trainer, before, after


def moved(before, after, group):
    return [not np.array_equal(old, new) for old, new in zip(before[group], after[group], strict=True)]


@pytest.mark.parametrize(("data", "rule", "learner", "method"), SMOKE)
def test_smoke_variants_make_steps(data, rule, learner, method):
    keras.backend.clear_session()
    config = load(data, f"{method},smoke" if rule == "sgd" else f"{method},smoke,{rule}")
    config.learner.name = learner
    config.learner.hidden = (8, 8)
    config.learner.filters = 4
    config.train.meta_batch = 1
    assert config.train.steps <= 10 and config.eval.episodes <= 10
    trainer, before, after = steps_of(config)
    groups = {"learner"} | ({"adaptation"} if rule == "meta_sgd" else set())
    groups |= {"co_learner"} if method == "cml" else set()
    assert set(after) == groups
    for group in groups:
        assert any(moved(before, after, group)), group
    initial = trainer.method.rule.initial(trainer.method.learner)
    moves = trainer.method.rule.update_rule.moved(initial.parameters)
    assert (bool(moves.extractor), bool(moves.head)) == (rule != "anil", rule != "boil")


def test_every_variant_has_a_row():
    assert set(VARIANTS) == {"smoke", *RULES[1:], *CONTRASTS, *ABLATIONS, *BASES, *INITIALISATIONS}


@pytest.mark.parametrize("name", ["sinusoid", "glyphs", "cora"])
def test_initial_weights_may_be_chosen_by_name(name):
    starts = {start: load(name, start).learner.initialisation for start in INITIALISATIONS}
    assert starts == {start: start for start in INITIALISATIONS} and load(name).learner.initialisation in starts


def first_order(config):
    assert config.hypergradient == "first_order"


def random_noise(config):
    assert config.objective.co_learner == "random_noise"


def cl(config):
    assert config.objective.co_learner == "adapted"


def more_maml(config):
    assert config.learner.extra_blocks == 3


def sharp_maml(config):
    assert config.adaptation.sharpness == config.train.sharpness == 0.0005 and config.adaptation.steps == 5


def reptile(config):
    assert config.objective.outer == "reptile" and config.hypergradient == "first_order"


def maml_plus_plus(config):
    settings = config.train
    assert config.adaptation.rule == "per_step_rates" and config.adaptation.steps == 5
    assert config.learner.normalisation == "per_step"
    assert (config.objective.multi_step_until, settings.first_order_steps, settings.cosine_steps) == (1, 2, 4)


def resnet12(config):
    assert config.learner.name == "resnet12"
    config.learner.filters = 2


def normalisations(layers):
    flat = [part for layer in layers for part in layer._flatten_layers()]
    return {(part.mode, part.steps) for part in flat if isinstance(part, Normalisation)}


@pytest.mark.parametrize("learner", ["conv4", "resnet12"])
def test_heads_of_cl_count_inner_steps_and_co_learners_do_not(learner):
    config = load("glyphs", f"{learner},maml_plus_plus" if learner != "conv4" else "maml_plus_plus")
    config.learner.filters = 2
    method = trainer_of(config).method
    assert normalisations([method.learner.extractor]) == {("per_step", 5)}
    (term,) = (term for term in method.terms if isinstance(term, CoLearner))
    assert normalisations([term.layer]) == {("batch_transductive", 1)}
    config.objective.co_learner = "adapted"
    assert normalisations([trainer_of(config).method.learner.head]) == {("per_step", 5)}


CHECKS = (resnet12, first_order, random_noise, cl, more_maml, sharp_maml, reptile, maml_plus_plus)
CONTRASTS = {check.__name__: check for check in CHECKS}
# Half a minute and more each; the parts of such a step have tests of their own.
LARGE = ("sharp_maml", "resnet12")


@pytest.mark.parametrize(
    "variant",
    [pytest.param(name, marks=[pytest.mark.slow, pytest.mark.long] * (name in LARGE)) for name in CONTRASTS],
)
def test_the_contrasts_build_and_make_steps(variant):
    keras.backend.clear_session()
    config = load("glyphs", f"smoke,{variant}")
    CONTRASTS[variant](config)
    if variant == "maml_plus_plus":
        # Early losses count in both steps: without them the step would be another graph.
        config.objective.multi_step_until = 3
    config.learner.filters = min(config.learner.filters, 4)
    config.train.meta_batch = 1
    trainer, before, after = steps_of(config)
    assert any(moved(before, after, "learner"))
    if variant == "maml_plus_plus":
        assert any(moved(before, after, "adaptation"))
        rates = trainer.meta_step.optimizers[0].learning_rate
        assert 1e-5 < float(rates) < 1e-3
    if variant == "random_noise":
        assert not any(moved(before, after, "co_learner")), "random noise is never updated"
    if variant in ("first_order", "sharp_maml", "reptile"):
        assert any(moved(before, after, "co_learner"))
    if variant == "cl":
        assert set(after) == {"learner"} and len(trainer.method.terms) == 2
    if variant == "more_maml":
        plain = trainer_of(load("glyphs", "maml,smoke"))
        assert len(trainer.method.learner.variables.extractor) == len(plain.method.learner.variables.extractor) + 12


def test_inner_rates_of_maml_plus_plus_and_sharp_maml_are_their_authors():
    for name, rate in (("omniglot", 0.1), ("mini_imagenet", 0.01)):
        assert load(name, "maml_plus_plus").adaptation.rate == rate
        assert load(name, "sharp_maml").adaptation.rate == 0.1


ABLATIONS = {
    "gamma_02": ("objective", "gamma", 0.2),
    "gamma_05": ("objective", "gamma", 0.5),
    "gamma_08": ("objective", "gamma", 0.8),
    **{f"co_blocks_{blocks}": ("objective", "co_learner_blocks", blocks) for blocks in range(5)},
    "head_blocks_2": ("learner", "head_blocks", 2),
}


@pytest.mark.parametrize("variant", ABLATIONS)
def test_the_ablations_change_one_key(variant):
    section, key, value = ABLATIONS[variant]
    plain, changed = (load("glyphs", name).to_dict() for name in ("", variant))
    assert changed[section].pop(key) == value
    del plain[section][key]
    assert changed == plain


def test_cl_begins_where_cml_does():
    """Of one seed psi, theta and phi are the same, so that differences are not those of other first weights."""

    def first_weights(variant):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        config = load("glyphs", f"smoke,{variant}" if variant else "smoke")
        config.learner.filters = 2
        return [v.numpy() for group in trainer_of(config).method.all_variables().values() for v in group]

    for one, other in zip(first_weights(""), first_weights("cl"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_head_with_blocks_makes_steps_beside_a_co_learner_and_as_one_of_two_heads():
    for variant in ("head_blocks_2", "head_blocks_2,cl"):
        keras.backend.clear_session()
        config = load("glyphs", f"smoke,{variant}")
        config.learner.filters = 4
        config.train.meta_batch = 1
        trainer, before, after = steps_of(config)
        assert any(moved(before, after, "learner"))
        heads = trainer.method.learner.variables.head
        assert len(heads) == (20 if "cl" in variant else 10)


BASES = {
    "meta_gnn": ("sgc", (16,), "linear", False),
    "g_meta": ("gcn", (16, 16), "prototypes", False),
    "amm_gnn": ("gcn", (16, 16), "linear", True),
}


@pytest.mark.parametrize("variant", ["", *BASES, "cl", "meta_sgd", "cl,anil", "amm_gnn,boil"])
def test_base_methods_on_nodes_build_and_make_steps(variant):
    keras.backend.clear_session()
    config = load("cora", ",".join(filter(None, ("smoke", variant))))
    settings = config.learner
    name, hidden, head, matching = BASES.get(variant.split(",")[0], ("gcn", (16, 16), "linear", False))
    assert (settings.name, settings.hidden, settings.head) == (name, hidden, head)
    assert settings.attribute_matching == matching
    config.adaptation.steps = 2
    config.train.meta_batch = 1
    _, before, after = steps_of(config)
    assert any(moved(before, after, "learner"))
    assert variant.startswith("cl") or any(moved(before, after, "co_learner"))


def test_several_co_learners_at_once():
    keras.backend.clear_session()
    config = load("sinusoid", "smoke")
    config.objective.co_learners = 3
    config.train.meta_batch = 1
    _, before, after = steps_of(config)
    for group in ("co_learner", "co_learner_2", "co_learner_3"):
        assert any(moved(before, after, group))
    assert not np.array_equal(after["co_learner"][0], after["co_learner_2"][0])


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
def test_every_number_format_makes_steps(policy):
    keras.backend.clear_session()
    config = load("sinusoid", "smoke")
    config.learner.dtype_policy = policy
    config.train.meta_batch = 1
    trainer, before, after = steps_of(config)
    assert any(moved(before, after, "learner"))
    assert trainer.method.learner.variables.extractor[0].dtype == ("float64" if policy == "float64" else "float32")
