"""Runs, their file of results, their pictures, and the figures of variance."""

import json

import numpy as np
import pytest
from PIL import Image

from cml_tf.errors import UserError
from cml_tf.objectives import trajectory_weights
from examples.snake import results, variance
from examples.snake.pictures import draw_curves, record_game, write_gif
from examples.snake.training import Run, Settings, train
from examples.snake.variance import estimators, relative_variance, summary
from tests.helpers.programs import run_programs

pytestmark = pytest.mark.slow

TINY = Settings(side=2, limit=12, games=4, steps=2, updates=2, windows=2, hidden=(4,), points=2)


def test_a_run_learns_draws_and_is_not_repeated(tmp_path):
    path, said = tmp_path / "found.jsonl", []
    line, run = train(TINY, 0, said.append)
    assert len(said) == 2 and line["curve"]["frames"] == [16, 32] and 0 <= line["final"]["greedy"] <= 3
    assert run.gamma != pytest.approx(0.8, abs=1e-6) and line["curve"]["gamma"][-1] == round(run.gamma, 4)
    again, _ = train(TINY, 0, said.append)
    assert {**again, "processor_seconds": 0} == {**line, "processor_seconds": 0}
    results.add(path, line)
    results.add(path, {**line, "seed": 1})
    assert results.is_done(path, TINY, 1) and not results.is_done(path, TINY, 2)
    assert draw_curves(results.read(path)).axes
    told = results.table(results.read(path)).splitlines()[-1]
    assert told.startswith(f"| uniform | 2 | {line['final']['drawn']:.2f} ± 0.00 | ") and told.endswith(" ± 0.000 |")
    pictures, total = record_game(TINY, run.learning.iterate.parameters.extractor, 0)
    write_gif(pictures, tmp_path / "game.gif")
    with Image.open(tmp_path / "game.gif") as shown:
        assert shown.n_frames <= len(pictures) <= TINY.limit + 1 and 0 <= total <= 3
        shown.seek(shown.n_frames - 1)
        assert shown.info["duration"] >= 2000


def test_a_full_board_is_the_last_picture(monkeypatch):
    """A player that goes around on 2 x 2 cells eats all there is."""
    around = {0: 1, 1: 2, 3: 3, 2: 0}
    monkeypatch.setattr(
        "examples.snake.pictures.answer",
        lambda policy, seen: np.eye(4)[[around[int(np.argmax(seen[0, :, 1]))]]],
    )
    found, total = record_game(TINY, (), 0)
    colours = found[-1].convert("RGB").getcolors()
    assert total == 3 and (255, 255, 255) not in {colour for _, colour in colours}


def test_a_file_of_other_runs_or_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "found.jsonl"
    line = {"settings": {**TINY.as_json(), "windows": 7}, "seed": 0, "curve": {}, "final": {}}
    results.add(path, line)
    # A table averages over seeds: those of another seed do not belong there either.
    for seed in (0, 5):
        with pytest.raises(UserError, match="seed 0, in .* with another windows: choose another file"):
            results.is_done(path, TINY, seed)
    path.write_text(json.dumps(line) + "\n[1]\n")
    with pytest.raises(UserError, match="line 2, must be the JSON object of a run"):
        results.read(path)


def test_a_fixed_discount_stays():
    run = Run(Settings(**{**vars(TINY), "mix": "fixed"}), 0)
    before = run.learning
    run.window()
    assert run.gamma == pytest.approx(0.8)
    assert np.any(run.learning.critic[0] != before.critic[0])
    assert np.any(run.learning.iterate.parameters.extractor[0] != before.iterate.parameters.extractor[0])


def test_weights_of_mixes_are_those_of_their_names():
    found = {mix: Settings(mix=mix, updates=3).weights() for mix in ("uniform", "geometric", "first", "last")}
    assert found["first"] == [1, 0, 0] and found["last"] == [0, 0, 1]
    assert found["uniform"] == [1 / 3] * 3 and found["geometric"] == trajectory_weights(3, "geometric")


def test_figures_of_variance_are_those_of_the_toy():
    """J_k = (theta_k - c)^2 / 2 with noise of variance 1, new for each step; theta goes a fifth of the way to eta."""
    ways = 1 - 0.8 ** np.array([1, 2, 3, 4, 5, 20])
    gradients = ways * np.random.default_rng(0).normal(2.0, 1.0, (100_000, 6))
    found = estimators(gradients)
    ratios = {name: relative_variance(found["g_5"]) / relative_variance(own) for name, own in found.items()}
    assert ratios["uniform"] == pytest.approx(4.419, rel=0.03)
    assert ratios["geometric"] == pytest.approx(2.785, rel=0.03)
    told = summary(gradients[:400])
    assert told["bias"]["g_1"]["value"] == pytest.approx(2 * (ways[0] - ways[5]), rel=0.1)
    low, high = told["relative_variance_of_g_5_over_it"]["uniform"]["interval"]
    assert 3 < low < 4.419 < high < 6 and told["bias_of_g_1_minus_it"]["uniform"]["interval"][0] > 0


def test_noise_that_leaves_nothing_of_a_mean_is_said_to():
    assert relative_variance(np.array([-1.0, 1.0, -1.0, 1.0])) == np.inf
    told = summary(np.tile([[1.0], [-1.0]], (8, 6)))
    assert told["relative_variance"]["g_5"]["value"] is None


MISTAKES = {
    "--mixes=uniform,best --results={}/found.jsonl": "--mixes must be of uniform, geometric, last, first, fixed, rec",
    "--variance_seeds=7": "--variance_seeds must be 8 or more, received 7: use 256.",
    "--variance_seeds=8 --results={}/found.jsonl": "--variance_seeds trains no runs: leave out --results",
    "--results={}/found.jsonl --gradients={}/g.json": "--gradients is a file for meta-gradients: set --variance_seeds",
}


def test_what_the_program_cannot_do_is_said_in_a_line(tmp_path):
    calls = [["examples.snake.train", *flags.replace("{}", str(tmp_path)).split()] for flags in MISTAKES]
    for done, said in zip(run_programs(calls), MISTAKES.values(), strict=True):
        assert done.code == 2 and len(done.messages) == 1 and done.messages[0].startswith(f"error: {said}")
    assert not list(tmp_path.iterdir())


def test_the_gradients_of_a_player_are_kept_as_they_are_measured(monkeypatch):
    made = np.random.default_rng(0).normal(size=(8, 6)) / 3e5
    monkeypatch.setattr(variance, "meta_gradients", lambda run, seeds: made[:seeds])
    found = json.loads(json.dumps(variance.measure(TINY, 0, 8, 3)))
    np.testing.assert_allclose(found.pop("gradients"), made, rtol=5e-7)
    assert found == {"settings": TINY.as_json(), "player": 3, "windows_before": 0, "gamma": 0.8}


@pytest.mark.slow
def test_the_program_goes_on_where_it_was_stopped(tmp_path):
    given = ["--side=2", "--windows=1", "--seeds=1", f"--results={tmp_path}/found.jsonl", f"--drawings={tmp_path}"]
    calls = [["examples.snake.train", *given, f"--mixes={mixes}"] for mixes in ("last", "last,fixed")]
    assert [done.code for done in run_programs(calls)] == [0, 0]
    lines = (tmp_path / "found.jsonl").read_text().splitlines()
    assert [json.loads(line)["settings"]["mix"] for line in lines] == ["last", "fixed"]
    assert {path.name for path in tmp_path.glob("snake_*")} == {
        "snake_curves.png",
        "snake_last_0.gif",
        "snake_fixed_0.gif",
    }
