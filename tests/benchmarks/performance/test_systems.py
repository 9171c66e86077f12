"""Related systems beside MAML: what is measured can be built, and the figures are those asked for."""

import io

import pytest
from rich.console import Console

from benchmarks.performance import system_costs
from benchmarks.performance.configured import build_configured, load_configured
from cml_tf.registry import members

FEW = {"train.meta_batch": 1, "dataset.queries": 1, "learner.filters": 2}


def test_every_member_is_measured_with_five_steps_where_there_are_any():
    words = system_costs.all_words()
    assert words[0] == "maml" and {"cml", "maml,reptile", "maml,meta_sgd", "maml,implicit"} <= {*words}
    size = system_costs.Size("5way,1shot", 6)
    configs = {one: load_configured(size.source(one), size.settings(one)) for one in words}
    assert size.settings("maml,mlp") == {"adaptation.steps": 5, "adaptation.eval_steps": 5}
    assert (configs["maml"].dataset.shots, configs["maml"].learner.filters) == (1, 6)
    assert {config.adaptation.rule for config in configs.values()} == members("rule").keys()
    assert {config.hypergradient.name for config in configs.values() if "hypergradient" in config} == {
        *members("hypergradient")
    }
    assert configs["maml"].adaptation.steps == 5 and "steps" not in configs["maml,kernel_ridge"].adaptation


@pytest.mark.slow
def test_a_configuration_is_stepped_and_served():
    size, one_step = system_costs.Size("2way,1shot"), {"adaptation.steps": 1, "adaptation.eval_steps": 1}
    settings = {"maml": FEW | one_step, "maml,hypernetwork": FEW}
    methods = {words: (size.source(words), own) for words, own in settings.items()}
    costs = system_costs.step_cost("maml,hypernetwork", methods, 1, Console(file=io.StringIO()))
    assert costs.keys() == {"step_milliseconds", "times_maml", "step_mebibytes", "first_seconds"}
    served = system_costs.served_costs(methods, 1)
    assert served["maml,hypernetwork"]["adapted_numbers"] == (2 + 1) * 2
    assert all(cost > 0 for costs in served.values() for cost in costs.values())


@pytest.mark.slow
@pytest.mark.parametrize("words", ["first_order,query_mixup", "meta_delta"])
def test_episodes_have_what_objectives_ask_for(words):
    """Numbers to draw from, and which training class is which."""
    trainer, episode = build_configured(load_configured(f"configs/glyphs.py:maml,{words},2way,1shot", FEW))
    assert trainer.meta_step(episode).finite


def test_the_table_has_what_was_measured():
    figures = {"step_milliseconds": 40.0, "times_maml": 1.0, "step_mebibytes": 9.0}
    drawn = system_costs.table(
        {"rounds": 5, "methods": {"maml": figures, "maml,anil": figures | {"grpc_milliseconds": 7.0}}}
    )
    assert [list(column.cells) for column in drawn.columns][0] == ["maml", "maml,anil"]
    assert list(drawn.columns[5].cells) == ["", "7"]
