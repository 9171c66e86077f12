"""From a folder to an exported model, with a clock that counts looks at it; Ctrl-C in a real process."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import signal
import subprocess
import sys

import keras
import pytest
from rich.console import Console

from cml_tf.errors import UserError
from cml_tf.experiments.assembly import build_trainer
from cml_tf.experiments.configuration import check_config
from cml_tf.problems import Classification
from cml_tf.system.files import Held
from export.autopilot import controller, flight
from export.autopilot.candidates import Network, candidates
from export.autopilot.flight import Order, fly
from export.autopilot.journal import Journal
from export.autopilot.survey import Wishes, survey
from export.autopilot.trying import Trials
from tests.export.forked_gate import forked_gate
from tests.helpers.drawn_images import write_classes
from tests.helpers.programs import ROOT, environment, run_programs

# Seconds that every look at the clock takes.
LOOK = 0.4
TINY = {"learner.hidden": (8,), "train.validate_every": 4, "train.validation_episodes": 4, "dataset.queries": 1}


@pytest.fixture
def photos(tmp_path):
    write_classes(tmp_path / "photos", "abcdef", images=4, size=(20, 20))
    return tmp_path / "photos"


@pytest.fixture
def small(monkeypatch):
    """Two candidates, whose network is the quickest to trace, and few episodes."""

    def two(found, network):
        for one in candidates(found, network)[:2]:
            options = {key: value for key, value in one.options.items() if key != "learner.filters"}
            yield dataclasses.replace(one, words=f"{one.words},mlp", options={**options, **TINY})

    monkeypatch.setattr(flight, "candidates", lambda *given: list(two(*given)))
    monkeypatch.setattr(controller, "_MOST_EPISODES", 60)


def counting():
    count = itertools.count()
    return lambda: LOOK * next(count)


@pytest.mark.slow
def test_a_folder_becomes_a_model_and_the_same_again_does_nothing(photos, tmp_path, small, monkeypatch):
    order, said = Order(photos, 1.0, tmp_path / "work"), io.StringIO()
    with forked_gate():
        outcome = fly(order, Console(file=said, width=300), counting())
    version = tmp_path / "work" / "model" / "1"
    assert outcome.version == str(version) and (version / "saved_model.pb").is_file()
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    assert card["metrics"]["mean"] == outcome.score["mean"] and outcome.score["split"] == "test"
    assert outcome.vote["of"][0] == outcome.winner and len(outcome.vote["of"]) == 2
    page = (tmp_path / "work" / "report.md").read_text()
    assert f"**{outcome.winner}**" in page and "when each question is asked alone" in page
    assert "2 of 2 candidates fit" in said.getvalue() and "% on validation classes after 4 steps" in said.getvalue()

    monkeypatch.setattr(Trials, "train", lambda *_: pytest.fail("it trained again"))
    assert fly(order, Console(file=said, width=300), counting()) == outcome
    assert "finished before" in said.getvalue() and not (version.parent / "2").exists()
    with pytest.raises(UserError, match="other settings .seed: 0 there, 1 now"):
        fly(dataclasses.replace(order, seed=1), Console(file=said), counting())


@pytest.mark.long
@pytest.mark.slow
def test_ctrl_c_exports_the_best_so_far(photos, tmp_path):
    command = [sys.executable, "-m", "export.autopilot", f"--data={photos}", "--minutes=1000"]
    command += [f"--workdir={tmp_path / 'work'}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if "% on validation classes" in line:
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        errors = process.stderr.read()
        assert process.wait() == 130, errors
    assert "stopped; the best so far is" in errors and "Traceback" not in errors
    assert (tmp_path / "work" / "model" / "1" / "saved_model.pb").is_file()
    assert "no score is known" in (tmp_path / "work" / "report.md").read_text()
    journal = json.loads((tmp_path / "work" / "autopilot.json").read_text())
    assert journal["in_play"] and journal["done"] == [], "who was interrupted has its turn again"


def test_a_folder_that_cannot_be_used_leaves_nothing_behind(photos, tmp_path):
    order = Order(photos, 1.0, tmp_path / "work", network=Network(str(tmp_path / "missing.keras")))
    with pytest.raises(UserError, match="missing.keras' cannot be loaded"):
        fly(order, Console(file=io.StringIO()), counting())
    assert [*(tmp_path / "work").iterdir()] == []
    with pytest.raises(UserError, match="--ways must be 2 to 2"):
        fly(dataclasses.replace(order, wishes=Wishes(ways=5)), Console(file=io.StringIO()), counting())


def test_weights_without_a_use_are_refused(tmp_path):
    # No folder of pictures, so that nothing begins.
    words = ["export.autopilot", f"--data={tmp_path / 'none'}", f"--workdir={tmp_path / 'work'}", "--weights=own.h5"]
    calls = [words, [*words, "--network=own.keras"]]
    for call, told in zip(run_programs(calls), ("without --network: ", "with --network=own.keras, "), strict=True):
        assert call.code == 2 and call.messages[0].startswith(f"error: --weights has no effect {told}"), call
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("fault", "raised"), [(Held, UserError), (BlockingIOError, BlockingIOError)])
def test_a_lock_that_another_has_is_told_and_a_process_that_cannot_start_is_none(
    photos, tmp_path, monkeypatch, fault, raised
):
    def fails(*_):
        raise fault(11, "Resource temporarily unavailable")

    monkeypatch.setattr(flight, "_fly", fails)
    with pytest.raises(raised, match="another process works" if fault is Held else "temporarily"):
        fly(Order(photos, 1.0, tmp_path / "work"), Console(file=io.StringIO()), counting())


def test_answers_that_diverge_cost_no_report(photos, tmp_path, small, monkeypatch):
    def diverges(*_):
        raise ArithmeticError("adaptation diverged")

    outcome = flight.Outcome("cml", "1", "best", {}, {}, "interrupted")
    monkeypatch.setattr(flight.Controller, "run", lambda self: outcome)
    monkeypatch.setattr(flight, "_show", diverges)
    said = io.StringIO()
    assert fly(Order(photos, 1.0, tmp_path / "work"), Console(file=said, width=300), counting()) is outcome
    assert "the report shows no answers: adaptation diverged" in said.getvalue()
    assert (tmp_path / "work" / "report.md").is_file()


def test_an_export_without_a_score_has_not_finished(photos, tmp_path, small, monkeypatch):
    scored, flown = flight.Outcome("cml", "1", "best", {"mean": 0.5}, {}), []
    order, said = Order(photos, 1.0, tmp_path / "work"), io.StringIO()

    def fly_inner(order, journal, budget, signals, console):
        flown.append(journal.result)
        journal.result, journal.finished = dataclasses.asdict(scored), 1.0
        journal.save(order.workdir)
        return scored

    monkeypatch.setattr(flight, "_fly", fly_inner)
    unscored = dataclasses.asdict(dataclasses.replace(scored, version="2", score={}))
    (tmp_path / "work").mkdir()
    Journal(flight._settings(order), result=unscored, finished=1.0).save(tmp_path / "work")
    assert fly(order, Console(file=said), counting()) == scored and flown == [unscored]
    assert "finished before" not in said.getvalue()
    assert fly(order, Console(file=said), counting()) == scored and flown == [unscored]
    assert "finished before: 1." in said.getvalue()


def test_a_network_of_ones_own_is_tried_first(photos, tmp_path):
    layers = [keras.Input((24, 24, 3)), keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential(layers).save(tmp_path / "own.keras")
    found = survey(photos, tmp_path / "links", 0, 5.0)
    tried = candidates(found, Network(str(tmp_path / "own.keras")))
    assert [candidate.name for candidate in tried[:2]] == ["network_frozen", "network_tuned"] and len(tried) == 8
    for candidate in tried[:2]:
        config = candidate.config(found, 0)
        check_config(config)
        assert config.learner.tuned == (candidate.name == "network_tuned")
        learner = build_trainer(
            config, Classification(found.ways), (found.edge, found.edge, 3), classes=9
        ).method.learner
        assert (found.edge, learner.extractor.size) == (28, 24)
