"""Words behind a configuration file: what they mean, which go together, what runs are called, and what is refused."""

from __future__ import annotations

import itertools
import re

import pytest

from cml_tf.experiments.arguments import experiment_name, words_of
from cml_tf.experiments.configuration import check_config, default_config, flatten, load_config
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.registry import ConfigurationError, members, variants
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
    assert f"received {told}." in message
    assert all(word in message for word in words_of(EXAMPLES[name]))


@pytest.mark.parametrize(("word", "near"), [("cmll", "cml"), ("norm_laier", "norm_layer"), ("tiny", None)])
def test_the_nearest_word_is_suggested(word, near):
    with pytest.raises(ConfigurationError) as caught:
        load("omniglot", word)
    assert str(caught.value).endswith(f"received '{word}'." + (f" Did you mean '{near}'?" if near else ""))


KEY = re.compile(r"^(dataset|learner|adaptation|hypergradient|objective|train)\.\w+ must ")


def test_every_word_that_is_offered_can_be_run_somewhere_or_names_the_key_that_it_needs():
    run, refused = set(), {}
    for name in OFFERED:
        for word in words_of(EXAMPLES[name]):
            for others in ("cml", "maml", *(f"maml,{rule}" for rule in members("rule"))):
                try:
                    check_config(load(name, f"{others},{word}"))
                except ConfigurationError as error:
                    refused.setdefault(word, str(error))
                else:
                    run.add(word)
                    break
    assert all(KEY.match(told) for word, told in refused.items() if word not in run), refused
    # Losses on the way need more inner steps than any file has.
    assert refused.keys() - run <= {"multi_step"}


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
    "cxgrad": {
        **{"adaptation.update": "context_scaling", "adaptation.rate": 0.01},
        **{"adaptation.steps": 5, "adaptation.eval_steps": 5},
        **{"adaptation.context_rate": 1.0, "adaptation.context_size": 100, "adaptation.exact_context": False},
    },
    "random_noise": {"objective.terms": ["query_loss", "random_noise"]},
    "query_mixup": {
        "objective.terms": ["query_mixup", "co_learner"],
        **{"objective.mixup_share": 1.0, "objective.mixup_concentration": 0.5},
        **{"objective.mixup_mix": "input", "objective.mixup_loss": "targets"},
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


def test_bases_on_nodes_are_theirs():
    assert difference("g_meta", "cora") == {"learner.head": "prototypes"}
    assert difference("amm_gnn", "cora") == {"learner.attribute_matching": True}
    assert difference("meta_gnn", "cora") == {"learner.name": "sgc", "learner.hidden": 16, "learner.hops": 2}


@pytest.mark.parametrize("word", sorted(variants().keys() - {"smoke"}))
def test_a_variant_is_its_members_and_its_settings(word):
    one = variants()[word]
    name = "cora" if one.only == "nodes" else "glyphs"
    of_members = dict(flatten(load(name, ",".join(one.chooses)).to_dict()))
    # Tuples are lists there.
    sets = {key: list(value) if isinstance(value, tuple) else value for key, value in one.sets(of_members).items()}
    assert dict(flatten(load(name, word).to_dict())) == of_members | sets


def test_schedules_are_shares_of_the_few_steps_of_smoke_in_any_order():
    config = load("glyphs", "smoke,maml_plus_plus")
    assert config.to_dict() == load("glyphs", "maml_plus_plus,smoke").to_dict()
    until = config.objective.multi_step_until, config.train.first_order_steps, config.train.cosine_steps
    assert until == (1, 2, 4) and config.learner.filters == 8


REFUSED = {
    "anil,boil": "'anil' and 'boil' cannot be combined",
    "random_noise,cl": "'random_noise' and 'cl' cannot be combined",
    "maml_plus_plus,meta_sgd": "'maml_plus_plus' and 'meta_sgd' cannot be combined",
    "reptile,query_mixup": "'reptile' and 'query_mixup' cannot be combined",
    "first_order,reverse": "'first_order' and 'reverse' cannot be combined",
    "maml,random_noise": "'random_noise' changes the co-learner, which MAML does not have",
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
