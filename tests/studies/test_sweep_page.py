"""The page of a sweep: its sections, its tiles, and pictures of analyses."""

from __future__ import annotations

import json

import pytest

from cml_tf.studies.page import Picture, render_page
from cml_tf.studies.report_page import copy_analyses, sweep_page
from cml_tf.studies.scores import Diverged, ScoredMethod, settings
from tests.helpers.sweep_results import RESULTS, SETTING, result

FOUND = settings(RESULTS)
ENTRY = {"title": "Cosine", "caption": "By layer.", "files": {"png": "cosine.png", "csv": "cosine.csv"}}
NOT_MADE = {"name": "linear_cka", "files": {}}


def test_the_page_has_every_part():
    picture = Picture("curves.png", "Curves", "Of <b>MAML</b>.")
    analyses = [Picture("cosine.png", "Cosine", "By layer.")]
    diverged = [Diverged(SETTING, ScoredMethod("maml", "", "10_steps"), "cora-seed0", "not finite")]
    page = sweep_page(
        FOUND, {SETTING: [picture]}, analyses, without_score=diverged, trained_on={"Fast 9000": ["cora_cml"]}
    )
    headings = [section.heading for section in page.sections]
    expected = [SETTING, "With and without CML", "Diverged", "Trained on", "Analyses", "What the paper says"]
    assert headings == expected
    assert page.sections[0].pictures == (picture,)
    assert page.tiles[0].value.startswith("+8.33 ±") and SETTING in page.tiles[0].label
    assert page.lead.startswith("6 runs in 1 setting.")
    html = render_page(page)
    assert "Of &lt;b&gt;MAML&lt;/b&gt;." in html
    assert "0 (1 diverged)" in html and "+8.33\u00a0±\u00a0" in html and "<summary>" in html


def test_parts_without_content_are_left_out():
    page = sweep_page(settings([result("maml", 0, (0.5, 0.5))]), {})
    assert [section.heading for section in page.sections] == [SETTING, "What the paper says"] and not page.tiles


def test_pictures_of_analyses_are_copied(tmp_path):
    analyses, output = tmp_path / "analyses", tmp_path / "page"
    analyses.mkdir()
    output.mkdir()
    (analyses / "cosine.png").write_bytes(b"picture")
    (analyses / "index.json").write_text(json.dumps({"analyses": [ENTRY, NOT_MADE]}))
    assert copy_analyses(analyses, output) == [Picture("cosine.png", "Cosine", "By layer.")]
    assert (output / "cosine.png").read_bytes() == b"picture"


@pytest.mark.parametrize(
    "index",
    [
        None,
        "[",
        "3",
        '{"analyses": [{}]}',
        json.dumps({"analyses": [ENTRY]}),
        json.dumps({"analyses": [{**ENTRY, "files": {"png": "../cosine.png"}}]}),
    ],
    ids=["no index", "no JSON", "no object", "no files", "picture missing", "picture elsewhere"],
)
def test_damaged_analyses_are_refused(tmp_path, index):
    (tmp_path / "analyses").mkdir()
    (tmp_path / "cosine.png").write_bytes(b"picture")
    if index is not None:
        (tmp_path / "analyses/index.json").write_text(index)
    with pytest.raises(ValueError, match=r"index\.json must list analyses with title"):
        copy_analyses(tmp_path / "analyses", tmp_path)
