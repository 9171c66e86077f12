"""Scores by size of free models and of models for one size, as a table and as drawn."""

import numpy as np
import pytest

from cml_tf.errors import UserError
from cml_tf.studies.sizes import Score, Size, draw_sizes, scores_by_size, sizes_table
from tests.helpers.sweep_results import result

FREE = {"dataset": {"name": "glyphs", "sampling": "uniform", "ways": 5, "shots": 1}}


def evaluation(ways, shots, *scores):
    return {"scores": list(scores), "asked": {"ways": ways, "shots": shots, "steps": None}}


def fixed(ways, shots, seed, *scores):
    config = {"dataset": {"name": "glyphs", "ways": ways, "shots": shots}}
    return result("maml", seed, scores, setting=f"glyphs_{ways}way_{shots}shot", config=config)


def free(seed, *scores):
    asked = {"2way": evaluation(2, 1, *scores), "5way": evaluation(5, 1, *scores), "x": {"diverged": "", "asked": {}}}
    # Of the training classes: no second seed of the same size.
    asked["train"] = {"scores": [0.0], "mean": 0.0, "asked": {"ways": 5, "shots": 1, "split": "train"}}
    return result("maml", seed, scores, "any_size,proto_maml", "accuracy", None, asked, "glyphs_5way_1shot", FREE)


RESULTS = [free(0, 0.5, 0.7), free(1, 0.7, 0.9), fixed(5, 1, 0, 0.25, 0.75)]


def test_methods_stand_side_by_side_at_every_size():
    scores = scores_by_size(RESULTS)
    free_model, alone = scores
    assert (free_model.name, alone.name) == ("maml proto_maml, any size", "maml, this size alone")
    assert scores[free_model].keys() == {Size(2, 1), Size(5, 1)} and scores[alone].keys() == {Size(5, 1)}
    # Over two seeds: t(0.975, 1) = 12.706 times 10 / 2; over two episodes: 12.706 times 25.
    np.testing.assert_allclose(scores[free_model][Size(5, 1)], Score(70, 127.06), rtol=1e-4)
    np.testing.assert_allclose(scores[alone][Size(5, 1)], Score(50, 317.66), rtol=1e-4)
    table = sizes_table(scores)
    assert table.rows == (("2-way 1-shot", "70.0 ± 127.1", ""), ("5-way 1-shot", "70.0 ± 127.1", "50.0 ± 317.7"))


def test_seeds_that_diverged_are_counted():
    def seed(number, *evaluations):
        asked = dict(zip(("2way", "5way", "10way"), evaluations, strict=True))
        return result(
            "maml", number, (0.5, 0.7), "any_size", evaluations=asked, setting="glyphs_5way_1shot", config=FREE
        )

    lost = {"diverged": "it did", "asked": {"ways": 5, "shots": 1}}
    nowhere = {"diverged": "it did", "asked": {"ways": 10, "shots": 1}}
    two, five = evaluation(2, 1, 0.5, 0.7), evaluation(5, 1, 0.5, 0.7)
    table = sizes_table(scores_by_size([seed(0, two, five, nowhere), seed(1, two, lost, nowhere)]))
    assert table.rows == (("2-way 1-shot", "60.0 ± 0.0"), ("5-way 1-shot", "60.0 ± 127.1 (1 diverged)"))


def test_the_picture_has_a_line_for_each_number_of_shots_and_a_ring_for_each_size():
    (axes,) = draw_sizes(scores_by_size(RESULTS)).axes
    drawn = {one.get_label(): one.lines[0].get_xydata().tolist() for one in axes.containers}
    assert drawn == {
        "maml proto_maml, any size: 1-shot": [[2, 70], [5, 70]],
        "maml, this size alone: 1-shot": [[5, 50]],
    }
    joined = [one.lines[0].get_linestyle() for one in axes.containers]
    assert joined == ["-", "None"] and axes.lines[-1].get_xydata().tolist() == [[2, 50], [5, 20]]


def test_what_has_no_size_is_refused():
    with pytest.raises(UserError, match="found none"):
        scores_by_size([])
    with pytest.raises(UserError, match="scored by accuracy"):
        scores_by_size([result("maml", 0, (0.5, 1.0), metric="mse", config=FREE)])
    longer = fixed(5, 1, 1, 0.5, 0.5)
    longer["config"] = {**longer["config"], "train": {"steps": 30000}}
    first = fixed(5, 1, 0, 0.25, 0.75)
    first["config"] = {**first["config"], "train": {"steps": 500}}
    with pytest.raises(UserError, match=r"differ in train.steps \(500 and 30000\): report"):
        scores_by_size([first, longer])
    with pytest.raises(UserError, match="once for each seed and size, received seed 0 twice"):
        scores_by_size([fixed(5, 1, 0, 0.25, 0.75), fixed(5, 1, 0, 0.5, 0.5)])
    other = {"dataset": {**FREE["dataset"], "name": "omniglot"}}
    with pytest.raises(UserError, match="of one dataset, received glyphs, omniglot"):
        scores_by_size([*RESULTS, result("maml", 0, (0.5, 1.0), "any_size", "accuracy", None, {}, "omniglot", other)])
