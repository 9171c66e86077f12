"""Reports of sweeps: the program, its page that loads nothing, its sections, and pictures of analyses."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from cml_tf.studies.page import Command, Page, Picture, Section, Table, Tile, render_page, write_page
from cml_tf.studies.report_page import sweep_page
from cml_tf.studies.results import write_results
from cml_tf.studies.scores import Diverged, ScoredMethod, settings
from tests.helpers.programs import run_programs
from tests.helpers.sweep_results import RESULTS, SETTING, result

HOSTILE = "<script>alert('x')</script> & \"quoted\""


class _Tags(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self._open = [], {}, []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes[tag] = dict(attrs)
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def page_of(text="plain", file="a.png"):
    table, picture = Table((text, "b"), ((text, "1.5"),)), Picture(file, text, text)
    section = Section(text, paragraphs=(text,), table=table, pictures=(picture,), commands=(Command(text, text),))
    return Page(text, text, (Tile(text, "72.5 %", text),), (section, Section("empty")))


def test_every_part_is_on_the_page_texts_are_not_obeyed_and_nothing_is_loaded_from_elsewhere():
    html = render_page(page_of())
    tags = _Tags(html).tags
    assert tags.count("section") == 2
    for tag in ("title", "h1", "dl", "table", "figure", "img", "figcaption", "pre"):
        assert tags.count(tag) == 1, tag
    for text in ("72.5 %", "1.5", 'name="viewport" content="width=device-width', "prefers-color-scheme: dark"):
        assert text in html
    assert "http" not in html and "//" not in re.sub(r"/\*.*?\*/", "", html)
    assert "<link" not in html and "@import" not in html
    hostile = _Tags(render_page(page_of(HOSTILE, "a b#1.png")))
    assert "script" not in hostile.tags and hostile.attributes["img"]["alt"] == HOSTILE
    assert hostile.attributes["img"]["src"] == hostile.attributes["a"]["href"] == "a%20b%231.png"
    with pytest.raises(ValueError, match="2 cells"):
        Table(("a", "b"), (("1",),))


def test_pictures_lie_beside_the_page(tmp_path):
    for file in ("../a.png", "sub/a.png", ""):
        with pytest.raises(ValueError, match="name without a folder"):
            page_of(file=file)
    with pytest.raises(FileNotFoundError, match="a.png"):
        write_page(page_of(), tmp_path / "report.html")
    (tmp_path / "a.png").touch()
    write_page(page_of("größer"), tmp_path / "report.html")
    assert "größer" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_has_every_part_and_leaves_out_those_without_content():
    picture, analyses = Picture("curves.png", "Curves", "Of <b>MAML</b>."), [Picture("a.png", "Cosine", "By layer.")]
    diverged = [Diverged(SETTING, ScoredMethod("maml", "", "10_steps"), "cora-seed0", "not finite")]
    of_runs = {"without_score": diverged, "trained_on": {"Fast 9000": ["cora_cml"]}}
    page = sweep_page(settings(RESULTS), {SETTING: [picture]}, analyses, **of_runs)
    expected = [SETTING, "With and without CML", "Diverged", "Training machines", "Analyses", "Results in the paper"]
    assert [section.heading for section in page.sections] == expected
    html = render_page(page)
    for text in (
        "6 runs in 1 setting.",
        "&lt;b&gt;MAML&lt;/b&gt;",
        "0 (1 diverged)",
        "+8.33\u00a0±\u00a0",
        "<summary>",
    ):
        assert text in html
    page = sweep_page(settings([result("maml", 0, (0.5, 0.5))]), {})
    assert [section.heading for section in page.sections] == [SETTING, "Results in the paper"] and not page.tiles


MISTAKES = {
    "--results={}/none.jsonl": "does not exist",
    "--results={}/empty.jsonl": "no results",
    "--results={}/damaged.jsonl": "line 1",
    "--results={}/good.jsonl --results={}/good.jsonl": "in another file",
    "--results={}/good.jsonl --against=SGD": "MAML, CML, received 'SGD'",
    "--results={}/good.jsonl --workdir={}": "--output",
    "--results={}/good.jsonl --sizes --workdir={}": "writes no page: leave out --output, --workdir",
    "--results={}/good.jsonl --output={}/page --workdir={}/none": "does not exist: check its path",
}
GOOD = [
    "--results={}/good.jsonl --output={}/page --workdir={}",
    "--results={}/good.jsonl --output={}/beside --against=CML",
]


def test_the_program_prints_tables_writes_the_page_and_tells_mistakes_in_one_line(tmp_path):
    write_results(tmp_path / "good.jsonl", {run["run"]: run for run in RESULTS})
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "damaged.jsonl").write_text("{}\n")
    calls = [["cml_tf.report", *flags.replace("{}", str(tmp_path)).split()] for flags in (*MISTAKES, *GOOD)]
    *mistakes, good, against = run_programs(calls)
    for end, (flags, message) in zip(mistakes, MISTAKES.items(), strict=True):
        assert end.code == 2 and len(end.messages) == 1 and message in end.messages[0], (flags, end)
    assert good.code == 0, good.err
    lines = good.out.splitlines()
    assert lines[0] == "## cora_2way_1shot" and lines[4].startswith("| MAML | 3 | 56.67 ±")
    assert any(line.startswith("| cora_2way_1shot | maml | 3 |") for line in lines)
    assert "Results in the paper" in (tmp_path / "page/report.html").read_text()
    lines = against.out.splitlines()
    assert "minus CML, ± over seeds" in lines[2] and lines[5].startswith("| CML | 3 |") and lines[5].endswith("|  |  |")
    assert "Every method is compared with CML" in (tmp_path / "beside/report.html").read_text()
