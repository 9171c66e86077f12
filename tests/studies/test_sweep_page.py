"""The page of a sweep: HTML that loads nothing, its sections, its tiles, and pictures of analyses."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from cml_tf.studies.page import Command, Page, Picture, Section, Table, Tile, render_page, write_page
from cml_tf.studies.report_page import copy_analyses, sweep_page
from cml_tf.studies.scores import Diverged, ScoredMethod, settings
from tests.helpers.sweep_results import RESULTS, SETTING, result

_HOSTILE = "<script>alert('x')</script> & \"quoted\""


class _Tags(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    _VOID = frozenset({"meta", "img"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self._open = [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def _page(text="plain", file="a.png"):
    section = Section(
        heading=text,
        paragraphs=(text,),
        table=Table((text, "b"), ((text, "1.5"),)),
        pictures=(Picture(file, text, text),),
        commands=(Command(text, text),),
    )
    return Page(text, text, (Tile(text, "72.5 %", text),), (section, Section("empty")))


def test_every_part_is_on_the_page_and_nothing_is_loaded_from_elsewhere():
    html = render_page(_page())
    tags = _Tags(html).tags
    assert tags.count("section") == 2
    for tag in ("title", "h1", "dl", "table", "figure", "img", "figcaption", "pre"):
        assert tags.count(tag) == 1, tag
    for text in ("72.5 %", "1.5", 'name="viewport" content="width=device-width', "prefers-color-scheme: dark"):
        assert text in html
    assert "http" not in html and "//" not in re.sub(r"/\*.*?\*/", "", html)
    assert "<link" not in html and "@import" not in html


def test_texts_are_shown_and_not_obeyed():
    parsed = _Tags(render_page(_page(_HOSTILE)))
    assert "script" not in parsed.tags
    assert dict(parsed.attributes)["img"]["alt"] == _HOSTILE


def test_pictures_lie_beside_the_page(tmp_path):
    for file in ("../a.png", "sub/a.png", ""):
        with pytest.raises(ValueError, match="a name without a folder"):
            _page(file=file)
    with pytest.raises(FileNotFoundError, match="a.png"):
        write_page(_page(), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.png").touch()
    write_page(_page("größer"), tmp_path / "report.html")
    assert "größer" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_file_names_are_quoted_in_links():
    attributes = dict(_Tags(render_page(_page(file="a b#1.png"))).attributes)
    assert attributes["img"]["src"] == attributes["a"]["href"] == "a%20b%231.png"


def test_rows_have_as_many_cells_as_columns():
    with pytest.raises(ValueError, match="must have 2 cells"):
        Table(("a", "b"), (("1",),))


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
    expected = [SETTING, "With and without CML", "Diverged", "Training machines", "Analyses", "Results in the paper"]
    assert headings == expected
    assert page.sections[0].pictures == (picture,)
    assert page.tiles[0].value.startswith("+8.33 ±") and SETTING in page.tiles[0].label
    assert page.lead.startswith("6 runs in 1 setting.")
    html = render_page(page)
    assert "Of &lt;b&gt;MAML&lt;/b&gt;." in html
    assert "0 (1 diverged)" in html and "+8.33\u00a0±\u00a0" in html and "<summary>" in html


def test_parts_without_content_are_left_out():
    page = sweep_page(settings([result("maml", 0, (0.5, 0.5))]), {})
    assert [section.heading for section in page.sections] == [SETTING, "Results in the paper"] and not page.tiles


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
