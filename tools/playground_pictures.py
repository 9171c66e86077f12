"""Takes the pictures of the playground that the documentation shows.

    python -m tools.playground_pictures --rest=http://127.0.0.1:8501 --model=letters --output=docs/images
    python -m tools.playground_pictures --page=http://127.0.0.1:8000/ --output=docs/images

Start the server with --playground; or give out the folder of `export.device.page`. Writes `playground_classifier.png`
or `playground_regression.png`, depending on the model, `device_` in front for a page; with --check, where a drawing has
been given to the wrong class, `playground_check.png`. Needs chromium on PATH.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from playwright.sync_api import Error, Locator, Page, sync_playwright

from cml_tf.system.files import atomic_file
from export.playground.site import address

Stroke = list[tuple[float, float]]
# Where a point of a letter is drawn.
Bent = Callable[[float, float], tuple[float, float]]

# Katakana, which is in no training set here: strokes with points in [0, 1].
_LETTERS: dict[str, list[Stroke]] = {
    "e": [[(0.25, 0.25), (0.75, 0.25)], [(0.5, 0.25), (0.5, 0.75)], [(0.15, 0.75), (0.85, 0.75)]],
    "me": [[(0.75, 0.15), (0.5, 0.55), (0.2, 0.85)], [(0.3, 0.35), (0.75, 0.75)]],
    "yo": [[(0.25, 0.2), (0.75, 0.2), (0.75, 0.8), (0.25, 0.8)], [(0.3, 0.5), (0.75, 0.5)]],
    "to": [[(0.4, 0.15), (0.4, 0.85)], [(0.4, 0.4), (0.7, 0.6)]],
    "ro": [[(0.2, 0.25), (0.2, 0.8), (0.8, 0.8), (0.8, 0.25), (0.2, 0.25)]],
}
_ASKED = "yo"
# A drawing of the first is given to the second.
_MISTAKEN = ("to", "me")
# A wave of amplitude 3.2 and phase 0.6, at places in the axes' range from -5 to 5.
_WAVE = tuple((x, 3.2 * math.sin(x - 0.6)) for x in (-4.2, -2.4, -1.1, 0.7, 1.9, 3.4, 4.5))


def take_picture(page: Page, place: str, check: bool = False) -> str:
    """Plays with the model until there is something to see; returns the name that the picture should have.

    Raises:
      playwright.sync_api.Error: if the page does not answer, or says something else than expected.
    """
    page.goto(place)
    page.get_by_text(re.compile("Connected to|Loaded")).wait_for()
    if page.get_by_role("heading", name="1. Click points").is_visible():
        _click_points(page)
        return "playground_regression.png"
    letters = _named_classes(page)
    _draw_letters(page, letters, lambda x, y: (x, y))
    if check:
        _check_letters(page, letters)
        return "playground_check.png"
    _ask_letter(page)
    return "playground_classifier.png"


def _named_classes(page: Page) -> list[str]:
    """The letters that the page has classes for, which now have their names."""
    fields = page.get_by_role("textbox", name="Name of class").all()
    for field, name in zip(fields, _LETTERS, strict=False):
        field.fill(name)
    return list(_LETTERS)[: len(fields)]


def _draw_letters(page: Page, letters: list[str], bent: Bent, wrong: tuple[str, str] | None = None) -> None:
    for name in letters:
        drawn, given = wrong or (name, name)
        _draw(page, "Pad for examples", _LETTERS[drawn if name == given else name], bent)
        page.get_by_role("button", name=f"Add the drawing to {name}", exact=True).click()


def _check_letters(page: Page, letters: list[str]) -> None:
    _draw_letters(page, letters, lambda x, y: (0.9 * x + 0.1 * y, 0.1 + 0.8 * y))
    _draw_letters(page, letters, lambda x, y: (0.1 + 0.8 * x, y + 0.06 * x - 0.03), _MISTAKEN)
    page.get_by_role("button", name="Check the examples").click()
    page.get_by_text("Another example would help most").wait_for()


def _ask_letter(page: Page) -> None:
    page.get_by_role("button", name="Adapt to the examples").click()
    page.get_by_text("Adapted to").wait_for()
    # No hand draws the same twice.
    _draw(page, "Pad for queries", _LETTERS[_ASKED], lambda x, y: (0.9 * x + 0.12 * y, 0.1 + 0.8 * y - 0.08 * x))
    page.get_by_text("Most likely").wait_for()
    # The bars take a moment to grow.
    page.evaluate("Promise.all(document.getAnimations({subtree: true}).map((each) => each.finished)).then(() => true)")


def _click_points(page: Page) -> None:
    plot = page.get_by_role("img", name="Plot of the points and curves")
    for x, y in _WAVE:
        page.get_by_label("x", exact=True).fill(f"{x:.1f}")
        page.get_by_label("y", exact=True).fill(f"{y:.1f}")
        page.get_by_role("button", name="Add the point").click()
    page.get_by_text(f"Adapted to {len(_WAVE)} points.").wait_for()
    plot.scroll_into_view_if_needed()


def _draw(page: Page, pad: str, strokes: list[Stroke], bent: Bent) -> None:
    canvas: Locator = page.get_by_role("group", name=pad).locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None, "a visible canvas has a position."
    for stroke in strokes:
        places = [bent(x, y) for x, y in stroke]
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=8)
        page.mouse.up()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Take the pictures of the playground.")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--rest", help="scheme, host and port of a server that runs with --playground")
    place.add_argument("--page", help="instead: where a folder of export.device.page is given out")
    parser.add_argument("--model", default="", help="its name on the server")
    parser.add_argument("--check", action="store_true", help="mark a drawing that was given to the wrong class")
    parser.add_argument("--output", required=True, type=Path, help="directory of the picture")
    options = parser.parse_args(arguments)
    chromium = shutil.which("chromium")
    if chromium is None:
        print("error: chromium is not on PATH: install it (Debian: apt-get install chromium).", file=sys.stderr)
        return 2
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        try:
            page = browser.new_page(viewport={"width": 1120, "height": 800})
            name = take_picture(page, options.page or address(options.rest, options.model), options.check)
            name = f"device_{name}" if options.page else name
            picture = page.screenshot(full_page=True)
        except Error as error:
            print(f"error: the playground did not answer as expected: {error.message.splitlines()[0]}", file=sys.stderr)
            return 2
        finally:
            browser.close()
    with atomic_file(options.output / name) as file:
        file.write(picture)
    print(options.output / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
