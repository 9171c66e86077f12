"""What the report says, and the example that it comes with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from cml_tf.experiments.configuration import check_config
from cml_tf.studies.pictures.episode import EpisodePicture
from export.autopilot.candidates import candidates
from export.autopilot.controller import Outcome
from export.autopilot.journal import Journal, Point
from export.autopilot.report import Shown, write_example, write_report
from export.autopilot.survey import survey
from export.client.examples import read_queries, read_support
from tests.helpers.drawn_images import write_classes

SCORE = {"mean": 0.8123, "ci95": 0.0123, "episodes": 600}


@pytest.fixture
def found(tmp_path):
    write_classes(tmp_path / "photos", [f"thing {number}" for number in range(12)], images=4)
    found = survey(tmp_path / "photos", tmp_path / "work" / "pictures", 0, 5.0)
    found.link()
    return found


@pytest.fixture
def journal():
    points = [Point("all_classes", 40, 30.0, 0.5), Point("cml", 40, 40.0, 0.7)]
    return Journal({}, spent=200.0, starts={"cml": 12.0}, steps={"all_classes": 40, "cml": 40}, points=points)


def shown(ways=3):
    pictures, labels = np.zeros((ways, 16, 16, 3)), np.arange(ways)
    episode = EpisodePicture(pictures, labels, pictures, labels, np.eye(ways), tuple("abc"))
    return Shown(episode, episodes=4, together=0.75, alone=0.7)


def test_the_report_tells_the_score_what_was_tried_and_what_to_type(tmp_path, found, journal):
    journal.left_out["all_classes"] = "behind: 50.0 % when the better half went on"
    vote = {"of": ["cml", "all_classes"], "mean": 0.8, "ci95": 0.02, "episodes": 100}
    outcome = Outcome("cml", "work/model/1", "best", SCORE, {**vote, "difference": {"mean": -0.01, "ci95": 0.02}})
    page = write_report(tmp_path / "work", 5, found, candidates(found), journal, outcome, shown()).read_text()
    assert "**cml** is right in **81.2 % ± 1.2 %** of all questions about 3 classes" in page
    assert "guessing gives 33 %" in page and "over 600 episodes from 3 test classes" in page
    assert "75.0 % of the answers are right, and 70.0 % when each question is asked alone" in page
    assert "| `cml` | conv net of 32 filters: Cooperative Meta-Learning, one gradient step | 40 |" in page
    assert "behind: 50.0 %" in page and "-1.0 % ± 2.0 % against the winner" in page
    assert f"-m export.serve --model_dir={tmp_path / 'work' / 'model'} --playground" in page
    with Image.open(tmp_path / "work" / "report.png") as picture:
        assert picture.height > 1000


def test_an_interrupted_one_claims_no_score(tmp_path, found, journal):
    outcome = Outcome("cml", "work/model/1", "latest", {}, {}, "interrupted")
    page = write_report(tmp_path / "work", 5, found, candidates(found), journal, outcome, None).read_text()
    assert "no score is known" in page and "It is not known." in page and "not scored: interrupted" in page


def test_the_example_is_what_a_client_reads(tmp_path, found, journal):
    outcome = Outcome("cml", "work/model/1", "best", SCORE, {}, "no time")
    for _ in range(2):
        write_report(tmp_path / "work", 5, found, candidates(found), journal, outcome, None)
    support = read_support(tmp_path / "work" / "example" / "support")
    queries = read_queries(tmp_path / "work" / "example" / "queries")
    assert sorted(set(support.targets)) == sorted(found.classes["test"]) and len(support.targets) == 6
    assert len(queries.inputs) == 6


def test_the_example_leaves_own_pictures_alone_and_takes_all_of_one_name(tmp_path):
    photos, example = tmp_path / "photos", tmp_path / "example"
    write_classes(photos, "abcdef", images=1)
    for name in "abcdef":
        write_classes(photos / name, ("left", "right"), images=1)
    found = survey(photos, tmp_path / "links", 0, 5.0)
    write_example(example, found)
    linked = [path for path in sorted(example.rglob("*.png")) if path.is_symlink()]
    assert len({path.resolve() for path in linked}) == len(linked) == found.ways * (found.shots + found.queries)
    linked[0].unlink()
    linked[0].write_bytes(b"own")
    write_example(example, found)
    assert linked[0].read_bytes() == b"own" and sorted(example.rglob("*.png")) == linked


def test_every_candidate_is_a_configuration_that_can_be_run(found):
    for minutes in (5.0, 500.0):
        tried = candidates(dataclasses.replace(found, edge=84 if minutes > 5 else 28))
        assert len({candidate.name for candidate in tried}) == len(tried) == 6
        for candidate in tried:
            check_config(candidate.config(found, 3))
            assert candidate.config(found, 3).dataset.root == str(found.root)
