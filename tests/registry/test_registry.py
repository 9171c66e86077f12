"""What may register, what a choice of members is, and which words belong to whom."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from cml_tf.errors import UserError
from cml_tf.experiments.arguments import words_of
from cml_tf.experiments.configuration import default_config
from cml_tf.readouts import through_head
from cml_tf.registry import (
    AXES,
    Choice,
    ConfigurationError,
    Option,
    axis_of,
    faults_of,
    member,
    members,
    option,
    register,
    setting,
    variant,
    variants,
)
from cml_tf.registry.members import _MEMBERS
from cml_tf.registry.variants import _VARIANTS
from cml_tf.studies.sweeps import read_sweep
from tests.helpers.programs import ROOT


@pytest.fixture(autouse=True)
def as_before():
    """What a test registers is gone after it."""
    kept = {axis: dict(own) for axis, own in _MEMBERS.items()}
    yield
    _MEMBERS.update(kept)


def built(options, given):
    """A member of tests."""


def undocumented(options, given): ...


@dataclass(frozen=True)
class Plain:
    rate: float = 0.1


@dataclass(frozen=True)
class Rated:
    rate: float = option(0.1, "a rate", above=0)


REFUSED = {
    "axis must be one of learner, .*readout, .*open_set, received 'head'": lambda: register("head", "mine"),
    r"a rule has no trait 'speed' \(its traits: parts, ": lambda: register("rule", "mine", speed=3),
    "a member's name must contain only letters, .*received '5 steps'": lambda: register("rule", "5 steps"),
    "the options of 'mine' must be a dataclass with fields": lambda: register("rule", "mine", Plain),
    "the options of 'mine' must be a dataclass": lambda: register("rule", "mine", dict),
    "the builder of 'mine' has no docstring": lambda: register("rule", "mine")(undocumented),
    "the name 'sgd' is already taken by a member of the axis 'update'": lambda: register("update", "sgd")(built),
    "the name 'mlp' is already taken by a member of the axis 'learner'": lambda: register("rule", "mlp")(built),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_register_is_refused_and_leaves_nothing_behind(message):
    before = {axis: list(members(axis)) for axis in AXES}
    with pytest.raises(UserError, match=message):
        REFUSED[message]()
    assert {axis: list(members(axis)) for axis in AXES} == before


def test_a_builder_of_the_same_name_from_another_module_is_another_one():
    def of(module):
        def build(options, given):
            """One of two."""

        build.__module__ = module
        return build

    register("update", "mine")(of("one"))
    register("update", "mine")(of("one"))
    with pytest.raises(UserError, match="the name 'mine' is already taken"):
        register("update", "mine")(of("another"))
    register("update", "mine")(of("__main__"))


def test_members_come_in_the_order_of_their_names_and_have_axes():
    register("update", "aaa")(built)
    assert list(members("update")) == sorted(members("update")) and axis_of("aaa") == "update"
    assert axis_of("nobody") is None
    with pytest.raises(ConfigurationError, match="adaptation.update must be one of aaa, .*, received 'nobody'"):
        member("update", "nobody")


@pytest.mark.parametrize("name", ["cml", "anil", "gamma_05"])
def test_a_member_called_like_another_word_is_refused(name):
    register("update", name)(built)
    with pytest.raises(ConfigurationError, match=f"the member '{name}' has the same name as another word"):
        words_of("images")


def test_two_members_with_an_option_of_one_name_cannot_be_chosen_together():
    register("rule", "mine", Rated, parts=("update",))(built)
    with pytest.raises(
        ConfigurationError, match="mine and sgd cannot be combined: both have the option 'adaptation.rate'"
    ):
        default_config(Choice(rule="mine"))


def test_a_member_takes_the_place_of_the_one_of_its_axis_or_slot():
    choice = Choice(terms=("query_loss", "co_learner"))
    asked = [("a", "meta_sgd"), ("b", "reptile"), ("b", "first_order"), ("c", "mlp")]
    changed = choice.with_members(asked)
    assert (changed.update, changed.hypergradient, changed.learner) == ("meta_sgd", "first_order", "mlp")
    assert changed.terms == ("reptile", "co_learner") and changed.has_co_learner
    assert choice.with_members([]) == choice and not Choice().has_co_learner
    for clash in (("x", "sgd"), ("x", "query_mixup")):
        with pytest.raises(ConfigurationError, match="'[ab]' and 'x' cannot be combined"):
            choice.with_members([*asked, clash])


def test_objectives_ask_for_traits_and_not_for_names():
    """Members that nobody knew of are judged by what they say of themselves."""

    def faults(**chosen):
        choice = Choice("glyphs", **chosen)
        return faults_of(choice, {key: described.default for key, described in choice.all_keys().items()})

    register("update", "plain")(built)
    register("update", "learning", learned=True)(built)
    register("learner", "graphs", reads=("nodes",))(built)
    reptile = {"terms": ("reptile",), "hypergradient": "first_order"}
    assert not faults(update="plain", **reptile)
    assert "must be a rule without variables" in faults(update="learning", **reptile)[0]
    assert "nodes of a graph" in faults(learner="graphs", terms=("query_mixup",))[0]
    assert "which has none: use maml" in faults(learner="graphs", terms=("query_loss", "co_learner"))[0]


@pytest.mark.parametrize(
    ("one", "kind", "sound", "wrong"),
    [
        (Option("", least=1), int, 1, (0, 1.5, True, None, "1")),
        (Option("", above=0), float, 0.1, (0, float("nan"), float("inf"))),
        (Option("", most=1, below=2), float, 1, (1.5,)),
        (Option("", choices=("a", "b")), str, "b", ("c", 1)),
        (Option("", least=1), tuple[int, ...], [1, 2], ([], [0], [1.5], 3)),
        (Option("", may_be_empty=True), tuple[int, ...], (), (None,)),
        (Option(""), bool, False, (0, "no")),
    ],
)
def test_options_know_what_they_may_be(one, kind, sound, wrong):
    assert one.fault(sound, kind) is None
    assert all(one.fault(value, kind) for value in wrong)


def test_a_readout_registers_apart_from_what_configurations_choose():
    """It may be called like an objective, is no word of configuration files, and is found by its name."""
    register("readout", "query_loss", through_head=True)(built)
    assert axis_of("query_loss") == "objective" and "query_loss" in through_head()
    with pytest.raises(UserError, match="the name 'co_learner' is already taken by a member of the axis 'readout'"):
        register("readout", "co_learner")(built)
    with pytest.raises(UserError, match=r"readout must be one of co_learner, .*, received 'nobody'"):
        member("readout", "nobody")


def test_a_sweep_asks_a_readout_whether_it_needs_a_co_learner(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    register("readout", "of_anybody")(built)
    register("readout", "of_two", needs_co_learner=True)(built)
    evaluations = {name: {"readout": name} for name in ("of_anybody", "of_two")}
    configs = ["configs/sinusoid.py:maml,smoke", "configs/sinusoid.py:cml,smoke"]
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"configs": configs, "seeds": [0], "evaluations": evaluations}))
    assert [list(run.evaluations) for run in read_sweep(path)] == [["of_anybody"], ["of_anybody", "of_two"]]


VARIANTS_REFUSED = {
    "name must contain only letters, .*received 'two words'": lambda: variant("two words")(setting("Text.")),
    "the variant 'mine' has no docstring": lambda: variant("mine")(lambda settings: {}),
    "the name 'anil' is already taken by another variant": lambda: variant("anil")(setting("Another one.")),
}


@pytest.mark.parametrize("message", VARIANTS_REFUSED)
def test_what_cannot_be_a_variant_is_refused(message):
    before = dict(variants())
    with pytest.raises(UserError, match=message):
        VARIANTS_REFUSED[message]()
    assert dict(variants()) == before


def test_a_variant_of_ones_own_is_a_word():
    try:
        variant("mine", chooses=("meta_sgd",), only="images")(setting("Mine.", adaptation__steps=3))
        assert "mine" in words_of("images") and "mine" not in words_of("numbers")
        assert variants()["mine"].sets({}) == {"adaptation.steps": 3} and next(iter(variants())) == "smoke"
    finally:
        _VARIANTS.pop("mine", None)
