"""The model card for people: the JSON one laid out as Markdown, by the template beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATE = "model_card.md.jinja"


def card_markdown(card: dict[str, Any]) -> str:
    """The card (see `export.card.model_card`) as Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        # Markdown is no HTML. All values are the project's own, but for names that were checked when they were given.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE).render(card)
