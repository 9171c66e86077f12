"""Arguments of the files in configs/: what they mean, which go together, what runs are called, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from cml_tf.experiments.arguments import experiment_name
from cml_tf.experiments.combinations import EXAMPLES
from cml_tf.experiments.configuration import ConfigurationError, check_config, default_config
from cml_tf.experiments.variants import VARIANTS, variants_of
from tests.helpers.small_configs import load

OF_THE_CO_LEARNER = [
    "random_noise",
    "cl",
    *(f"gamma_{tenths}" for tenths in ("02", "05", "08")),
    *(f"co_blocks_{blocks}" for blocks in range(5)),
]
OFFERED = {
    "omniglot": "the arguments of omniglot are maml or cml, Nway, Nshot, and variants (smoke, ",
    "cora": "the arguments of cora are maml or cml, Nway, Nshot, and variants (smoke, ",
    "sinusoid": "the arguments of sinusoid are maml or cml, Nshot, and variants (smoke, ",
}


@pytest.mark.parametrize("words", list(itertools.permutations(("maml", "3way", "2shot", "anil"))))
def test_arguments_have_no_order(words):
    assert load("omniglot", ",".join(words)).to_dict() == load("omniglot", "maml,3way,2shot,anil").to_dict()


def test_what_is_left_out_has_the_files_default():
    config = load("cora_full", "maml,7shot")
    assert (config.dataset.ways, config.dataset.shots, config.objective.co_learner) == (5, 7, "none")
    assert load("cora", "3way").dataset.ways == 3 and load("sinusoid", "boil").dataset.shots == 10


@pytest.mark.parametrize(
    ("name", "arguments", "received"),
    [
        ("omniglot", "tiny", "'tiny'"),
        ("omniglot", "smoke,tiny", "'tiny'"),
        ("omniglot", "Smoke", "'Smoke'"),
        ("omniglot", "anil boil", "'anil boil'"),
        ("omniglot", "5way, 1shot", "' 1shot'"),
        ("omniglot", "0way", "'0way'"),
        ("omniglot", "-1shot", "'-1shot'"),
        ("omniglot", "1_0shot", "'1_0shot'"),
        ("omniglot", "٣way", "'٣way'"),
        ("omniglot", "maml,cml", "'maml' and 'cml'"),
        ("omniglot", "5way,1shot,20way", "'5way' and '20way'"),
        ("omniglot", "1shot,1shot", "'1shot' and '1shot'"),
        ("omniglot", "boil,boil", "'boil' and 'boil'"),
        ("omniglot", "g_meta", "'g_meta'"),
        ("cora", "resnet12", "'resnet12'"),
        ("cora", "protonet,1shot", "'protonet'"),
        ("sinusoid", "5way", "'5way'"),
        ("sinusoid", "co_blocks_2", "'co_blocks_2'"),
    ],
)
def test_arguments_that_there_are_not_are_refused(name, arguments, received):
    with pytest.raises(ConfigurationError) as caught:
        load(name, arguments)
    message = str(caught.value)
    assert message.startswith(OFFERED[name]) and message.endswith(f"each at most once; received {received}.")
    assert all(variant in message for variant in variants_of(EXAMPLES[name])) and "\n" not in message


def test_one_way_is_none():
    with pytest.raises(ConfigurationError, match="ways must be at least 2, received 1"):
        check_config(load("omniglot", "1way"))


@pytest.mark.parametrize("name", OFFERED)
def test_every_variant_that_is_offered_can_be_run(name):
    offered = variants_of(EXAMPLES[name])
    assert set(offered) <= set(VARIANTS)
    for variant in offered:
        check_config(load(name, f"{'maml' if variant == 'anil' else 'cml'},{variant}"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "omniglot_5way_1shot_cml"),
        ("1shot,maml", "omniglot_5way_1shot_maml"),
        ("anil,20way,first_order,5shot,maml", "omniglot_20way_5shot_maml-anil-first_order"),
        ("cl", "omniglot_5way_1shot_cml-cl"),
        ("smoke,random_noise", "omniglot_5way_1shot_cml-smoke-random_noise"),
    ],
)
def test_runs_are_called_after_the_whole_setting(arguments, expected):
    assert experiment_name(f"configs/omniglot.py:{arguments}", load("omniglot", arguments)) == expected


def test_waves_have_no_ways_in_their_names_and_other_files_keep_theirs():
    assert experiment_name("configs/sinusoid.py", load("sinusoid")) == "sinusoid_10shot_cml"
    assert experiment_name("mine/birds_cml.py:5way,deep", default_config()) == "birds_cml-5way-deep"


def test_schedules_are_shares_of_the_few_steps_of_smoke_in_any_order():
    first, last = (load("glyphs", names) for names in ("smoke,maml_plus_plus", "maml_plus_plus,smoke"))
    assert first.to_dict() == last.to_dict()


@pytest.mark.parametrize("variant", OF_THE_CO_LEARNER)
def test_what_is_about_the_co_learner_is_refused_where_there_is_none(variant):
    with pytest.raises(ConfigurationError, match=f"variant '{variant}' is about the co-learner, and MAML has none"):
        load("glyphs", f"maml,{variant}")


@pytest.mark.parametrize(
    "names",
    ["anil,boil", "boil,smoke,anil", "random_noise,cl", "gamma_02,gamma_05", "co_blocks_2,co_blocks_3"]
    + ["maml_plus_plus,meta_sgd", "meta_sgd,maml_plus_plus"],
)
def test_variants_that_contradict_each_other_are_refused(names):
    one, other = (name for name in names.split(",") if name != "smoke")
    with pytest.raises(ConfigurationError, match=f"'{one}' and '{other}' contradict each other"):
        load("glyphs", names)


@pytest.mark.parametrize("names", [("boil", "gamma_02"), ("cl", "maml_plus_plus"), ("sharp_maml", "maml_plus_plus")])
def test_variants_combine_in_any_order(names):
    for data in ("glyphs", "mini_imagenet"):
        made = [load(data, ",".join(order)).to_dict() for order in (names, names[::-1])]
        assert made[0] == made[1] != load(data, names[0]).to_dict()


@pytest.mark.parametrize("variant", ["", "random_noise"])
def test_a_co_learner_of_features_that_do_not_adapt_is_refused(variant):
    with pytest.raises(ConfigurationError, match="partition must not be 'anil' with a co-learner"):
        check_config(load("glyphs", f"{variant},anil"))
    for arguments in ("maml,anil", "cl,anil"):
        check_config(load("glyphs", arguments))


def test_schedules_that_do_not_end_within_the_training_are_named_together():
    config = load("glyphs", "maml_plus_plus")
    config.train.steps = 4000
    with pytest.raises(ConfigurationError) as caught:
        check_config(config)
    for said in ("multi_step_until = 4500", "first_order_steps = 15000", "cosine_steps = 30000", "train.steps (4000)"):
        assert said in str(caught.value)
    config.update_from_flattened_dict({"objective.multi_step_until": 3999, "train.first_order_steps": 3999})
    with pytest.raises(ConfigurationError, match=r"received train\.cosine_steps = 30000:"):
        check_config(config)
    config.train.cosine_steps = 4000
    check_config(config)
