"""A report as one HTML page: what it consists of, and how it is rendered.

The page loads nothing from anywhere: its style is part of it, and its pictures are PNG files beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cml_tf.system.files import write_text

_TEMPLATE = "report.html"


@dataclass(frozen=True)
class Tile:
    """One figure that stands out at the top: what it is, its value with unit, a remark."""

    label: str
    value: str
    remark: str


@dataclass(frozen=True)
class Table:
    """Column heads and rows of equal length; a row's first cell heads it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"every row must have {len(self.columns)} cells, received {row!r}.")


@dataclass(frozen=True)
class Picture:
    """A PNG beside the page: its file name, what it shows for those who cannot see it, and the words below it."""

    file: str
    description: str
    caption: str

    def __post_init__(self) -> None:
        if not self.file or Path(self.file).name != self.file:
            raise ValueError(
                f"the file of a picture must be a name without a folder, received {self.file!r}: put pictures next to "
                "the page."
            )


@dataclass(frozen=True)
class Command:
    """Something to type: what it is for, and the text, of one line or several."""

    purpose: str
    text: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in this order; each part may be empty.

    `folded` is a table that is shown when its summary, the text before it, is clicked; left out without rows.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None
    pictures: tuple[Picture, ...] = ()
    commands: tuple[Command, ...] = ()
    folded: tuple[str, Table] | None = None


@dataclass(frozen=True)
class Page:
    """A report. All texts are plain: what looks like HTML in them is shown, not obeyed."""

    title: str
    lead: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]


def count_of(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def render_page(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(page=page)


def write_page(page: Page, path: Path) -> None:
    """Writes the page as HTML in UTF-8, at once or not at all.

    Raises:
      FileNotFoundError: if a picture is not beside `path`.
      OSError: if the page cannot be written.
    """
    for section in page.sections:
        for picture in section.pictures:
            if not (path.parent / picture.file).is_file():
                raise FileNotFoundError(
                    f"the page shows {picture.file}, which is not in {path.parent}: write the picture first."
                )
    write_text(path, render_page(page))
