"""Words behind a configuration file: what they mean, which go together, what runs are called, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from cml_tf.experiments.arguments import METHODS, experiment_name, words_of
from cml_tf.experiments.configuration import check_config, default_config, flatten, load_config
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.registry import ConfigurationError, variants
from tests.helpers.programs import ROOT
from tests.helpers.small_configs import load

OFFERED = {
    "omniglot": "words for omniglot must be maml or cml, Nway, Nshot, a member or a variant (",
    "cora": "words for cora must be maml or cml, Nway, Nshot, a member or a variant (",
    "sinusoid": "words for sinusoid must be maml or cml, Nshot, a member or a variant (",
}


def difference(arguments, name="glyphs"):
    plain, changed = (dict(flatten(load(name, words).to_dict())) for words in ("", arguments))
    return {key: value for key, value in changed.items() if plain.get(key) != value}


def test_words_have_no_order_and_what_is_left_out_has_the_files_default():
    expected = load("omniglot", "maml,3way,2shot,anil").to_dict()
    for words in itertools.permutations(("maml", "3way", "2shot", "anil")):
        assert load("omniglot", ",".join(words)).to_dict() == expected
    for names in (("boil", "gamma_02"), ("cl", "maml_plus_plus"), ("sharp_maml", "maml_plus_plus")):
        for data in ("glyphs", "mini_imagenet"):
            made = [load(data, ",".join(order)).to_dict() for order in (names, names[::-1])]
            assert made[0] == made[1] != load(data, names[0]).to_dict()
    config = load("cora_full", "maml,7shot")
    assert (config.dataset.ways, config.dataset.shots, config.objective.terms) == (5, 7, ("query_loss",))
    assert load("cora", "3way").dataset.ways == 3 and load("sinusoid", "boil").dataset.shots == 10


UNKNOWN = [
    *(("omniglot", word, f"'{word}'") for word in ("tiny", "Smoke", "anil boil", "0way", "-1shot", "1_0shot", "٣way")),
    ("omniglot", "5way, 1shot", "' 1shot'"),
    ("omniglot", "g_meta", "'g_meta'"),
    ("omniglot", "maml,cml", "'maml' and 'cml'"),
    ("omniglot", "5way,1shot,20way", "'5way' and '20way'"),
    ("omniglot", "boil,boil", "'boil' and 'boil'"),
    ("cora", "resnet12", "'resnet12'"),
    ("sinusoid", "5way", "'5way'"),
    ("sinusoid", "co_blocks_2", "'co_blocks_2'"),
]


@pytest.mark.parametrize(("name", "words", "told"), UNKNOWN)
def test_words_that_there_are_not_are_refused_with_those_there_are(name, words, told):
    with pytest.raises(ConfigurationError) as caught:
        load(name, words)
    message = str(caught.value)
    assert message.startswith(OFFERED[name]) and "\n" not in message
    assert message.endswith(f"received {told}.")
    assert all(word in message for word in words_of(EXAMPLES[name]))


# Words that go with neither method alone, and what they are told.
NEEDS_MORE = {
    "multi_step": "adaptation.steps must be at least 2",
    "soft_k_means": "which has no classes",
    "gradient_flow": "which has no classes",
    "query_mixup": "which cannot be mixed",
}
OF = {
    "omniglot": {"multi_step"},
    "cora": {"query_mixup"},
    "sinusoid": {"multi_step", "soft_k_means", "gradient_flow"},
}


@pytest.mark.parametrize("name", OFFERED)
def test_every_word_that_is_offered_gives_what_can_be_run_or_says_what_it_needs(name):
    refused = {}
    for word in words_of(EXAMPLES[name]):
        for method in METHODS:
            try:
                check_config(load(name, f"{method},{word}"))
                break
            except ConfigurationError as error:
                told = str(error)
        else:
            refused[word] = told
    assert refused.keys() == OF[name]
    assert all(NEEDS_MORE[word] in told for word, told in refused.items())


SETS = {
    "anil": {"adaptation.partition": "anil"},
    "boil": {"adaptation.partition": "boil"},
    "zero_head": {"learner.initialisation": "zero_head"},
    "more_maml": {"learner.extra_blocks": 3},
    "head_blocks_2": {"learner.head_blocks": 2},
    **{f"gamma_0{tenths}": {"objective.gamma": tenths / 10} for tenths in (2, 5, 8)},
    **{f"co_blocks_{blocks}": {"objective.co_learner_blocks": blocks} for blocks in (0, 1, 3, 4)},
    "meta_sgd": {"adaptation.update": "meta_sgd"},
    "first_order": {"hypergradient.name": "first_order"},
    "random_noise": {"objective.terms": ["query_loss", "random_noise"]},
    "query_mixup": {
        "objective.terms": ["query_mixup", "co_learner"],
        **{"objective.mixup_share": 1.0, "objective.mixup_concentration": 0.5},
    },
    "sharp_maml": {
        **{"adaptation.steps": 5, "adaptation.eval_steps": 5, "adaptation.rate": 0.1},
        **{"adaptation.sharpness": 0.0005, "train.sharpness": 0.0005},
    },
    "reptile": {
        **{"objective.terms": ["reptile", "co_learner"], "hypergradient.name": "first_order"},
        **{"adaptation.steps": 5, "adaptation.eval_steps": 5},
    },
    "maml_plus_plus": {
        **{"objective.terms": ["multi_step", "co_learner"], "objective.multi_step_until": 4500},
        **{"adaptation.update": "per_step_rates", "adaptation.steps": 5, "adaptation.eval_steps": 5},
        **{"adaptation.rate": 0.1, "learner.normalisation": "per_step"},
        **{"train.first_order_steps": 15000, "train.cosine_steps": 30000},
    },
}


@pytest.mark.parametrize("word", SETS)
def test_a_word_changes_what_it_says_and_nothing_else(word):
    assert difference(word) == SETS[word]


def test_bases_on_nodes_are_theirs_and_every_variant_is_tested():
    assert difference("g_meta", "cora") == {"learner.head": "prototypes"}
    assert difference("amm_gnn", "cora") == {"learner.attribute_matching": True}
    assert difference("meta_gnn", "cora") == {"learner.name": "sgc", "learner.hidden": 16, "learner.hops": 2}
    told = {"smoke", "fan_in_uniform", "glorot_uniform", "co_blocks_2", "meta_gnn", "g_meta", "amm_gnn"}
    assert variants().keys() <= SETS.keys() | told


def test_schedules_are_shares_of_the_few_steps_of_smoke_in_any_order():
    config = load("glyphs", "smoke,maml_plus_plus")
    assert config.to_dict() == load("glyphs", "maml_plus_plus,smoke").to_dict()
    until = config.objective.multi_step_until, config.train.first_order_steps, config.train.cosine_steps
    assert until == (1, 2, 4) and config.learner.filters == 8


REFUSED = {
    "anil,boil": "'anil' and 'boil' contradict each other",
    "random_noise,cl": "'random_noise' and 'cl' contradict each other",
    "maml_plus_plus,meta_sgd": "'maml_plus_plus' and 'meta_sgd' contradict each other",
    "reptile,query_mixup": "'reptile' and 'query_mixup' contradict each other",
    "first_order,reverse": "'first_order' and 'reverse' contradict each other",
    "maml,random_noise": "'random_noise' is about the co-learner, and MAML has none: take it with cml",
    "maml,gamma_02": "'gamma_02' sets objective.gamma, which no chosen member has",
    "maml,kernel_ridge,boil": "'boil' sets adaptation.partition, which no chosen member has",
    "maml,kernel_ridge,meta_sgd": "adaptation.update must be left out with 'kernel_ridge'",
}


@pytest.mark.parametrize("words", REFUSED)
def test_words_that_contradict_each_other_are_refused(words):
    with pytest.raises(ConfigurationError, match=REFUSED[words]):
        load("glyphs", words)


NAMES = {
    "configs/omniglot.py:": "omniglot_5way_1shot_cml",
    "configs/omniglot.py:1shot,maml": "omniglot_5way_1shot_maml",
    "configs/omniglot.py:anil,20way,first_order,5shot,maml": "omniglot_20way_5shot_maml-anil-first_order",
    "configs/omniglot.py:smoke,random_noise": "omniglot_5way_1shot_cml-smoke-random_noise",
    "configs/sinusoid.py:": "sinusoid_10shot_cml",
}


@pytest.mark.parametrize("source", NAMES)
def test_runs_are_called_after_the_whole_setting(source):
    assert experiment_name(source, load_config(f"{ROOT}/{source}")) == NAMES[source]
    assert experiment_name("mine/birds_cml.py:5way,deep", default_config()) == "birds_cml-5way-deep"
