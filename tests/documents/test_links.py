"""Links of all documents lead to files, pictures and headings that are there; `make` targets too."""

import re

import pytest

from tests.helpers.documents import BLOCK, PAGES, ROOT, blocks, read

DOCUMENTS = (*PAGES, "CHANGELOG.md", "CONTRIBUTING.md")
LINK = re.compile(r"\]\(([^)\s]+)\)|<(?:img|a)\b[^>]*\b(?:src|href)=\"([^\"]+)\"")


def prose(document: str) -> str:
    """A document without its blocks, code and comments."""
    return re.sub(r"<!--.*?-->", "", BLOCK.sub("", document), flags=re.DOTALL)


def anchors(document: str) -> set[str]:
    """What links into a document can name: GitHub's form of its headings."""
    headings = [heading.lower() for heading in re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)]
    forms = [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings]
    return {f"{form}-{forms[:place].count(form)}".removesuffix("-0") for place, form in enumerate(forms)}


def broken(name: str, document: str) -> list[str]:
    """The links of a document that lead nowhere."""
    found, folder = [], (ROOT / name).parent
    for target in (first or second for first, second in LINK.findall(re.sub(r"`[^`]*`", "", prose(document)))):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = folder / path if path else ROOT / name
        if not file.exists() or (anchor and anchor not in anchors(document if not path else file.read_text())):
            found.append(target)
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    assert broken(name, read(name)) == []


def test_a_broken_link_would_be_noticed():
    text = (
        "## A heading: `code`\n[a](#a-heading-code) [b](#b) [c](docs/none/no.md) ![d](none.png) [`e`](README.md#no)\n"
    )
    found = broken("README.md", text + '<img src="none.gif">')
    assert found == ["#b", "docs/none/no.md", "none.png", "README.md#no", "none.gif"]


def test_every_page_can_be_reached_from_the_readme():
    reached, front = set(), {"README.md"}
    while front:
        reached |= front
        links = {
            ((ROOT / name).parent / target.partition("#")[0]).resolve()
            for name in front
            for target, _ in LINK.findall(prose(read(name)))
            if target.partition("#")[0].endswith(".md") and "://" not in target
        }
        front = {str(path.relative_to(ROOT)) for path in links} - reached
    assert {*PAGES} <= reached


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name):
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    text = "\n".join(block.text for block in blocks(read(name), "sh"))
    assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= set(phony)
