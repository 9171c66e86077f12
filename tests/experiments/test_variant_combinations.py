"""Which variants of the files in configs/ go together, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cml_tf.experiments.configuration import ConfigurationError, check_config, load_config

FOLDER = Path(__file__).resolve().parents[2] / "configs"
OF_THE_CO_LEARNER = [
    "random_noise",
    "cl",
    *(f"gamma_{tenths}" for tenths in ("02", "05", "08")),
    *(f"co_blocks_{blocks}" for blocks in range(5)),
]


def load(name, variant=""):
    return load_config(f"{FOLDER / name}:{variant}")


def test_schedules_are_shares_of_the_few_steps_of_smoke_in_any_order():
    first, last = (load("glyphs_5way_1shot_cml.py", name) for name in ("smoke,maml_plus_plus", "maml_plus_plus,smoke"))
    assert first.to_dict() == last.to_dict()


@pytest.mark.parametrize("variant", OF_THE_CO_LEARNER)
def test_what_is_about_the_co_learner_is_refused_where_there_is_none(variant):
    with pytest.raises(ConfigurationError, match=f"variant '{variant}' is about the co-learner, and MAML has none"):
        load("glyphs_5way_1shot_maml.py", variant)


@pytest.mark.parametrize(
    "names",
    ["anil,boil", "boil,smoke,anil", "random_noise,cl", "gamma_02,gamma_05", "co_blocks_2,co_blocks_3"]
    + ["maml_plus_plus,meta_sgd", "meta_sgd,maml_plus_plus"],
)
def test_variants_that_contradict_each_other_are_refused(names):
    one, other = (name for name in names.split(",") if name != "smoke")
    with pytest.raises(ConfigurationError, match=f"'{one}' and '{other}' contradict each other"):
        load("glyphs_5way_1shot_cml.py", names)


@pytest.mark.parametrize("names", [("boil", "gamma_02"), ("cl", "maml_plus_plus"), ("sharp_maml", "maml_plus_plus")])
def test_variants_combine_in_any_order(names):
    for data in ("glyphs", "mini_imagenet"):
        made = [load(f"{data}_5way_1shot_cml.py", ",".join(order)).to_dict() for order in (names, names[::-1])]
        assert made[0] == made[1] != load(f"{data}_5way_1shot_cml.py", names[0]).to_dict()


@pytest.mark.parametrize("variant", ["", "random_noise"])
def test_a_co_learner_of_features_that_do_not_adapt_is_refused(variant):
    names = ",".join(filter(None, (variant, "anil")))
    config = load("glyphs_5way_1shot_cml.py", names)
    with pytest.raises(ConfigurationError, match="partition must not be 'anil' with a co-learner"):
        check_config(config)
    check_config(load("glyphs_5way_1shot_cml.py", "cl,anil"))
    check_config(load("glyphs_5way_1shot_maml.py", "anil"))


def test_schedules_that_do_not_end_within_the_training_are_named_together():
    config = load("glyphs_5way_1shot_cml.py", "maml_plus_plus")
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
