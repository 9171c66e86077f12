from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from cml_tf.studies.page import Command, Page, Picture, Section, Table, Tile, render_page, write_page

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
        with pytest.raises(ValueError, match="bare file name"):
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
