"""The regression's page, by keyboard and by pointer."""

from __future__ import annotations

import pytest

from tests.export.playground.pages import open_page

pytestmark = pytest.mark.slow


def _add(page, x, y):
    for name, value in (("x", x), ("y", y)):
        page.get_by_label(name, exact=True).focus()
        page.keyboard.press("Control+A")
        page.keyboard.type(value)
    page.keyboard.press("Enter")


def _points(page):
    return page.get_by_role("list", name="Points").get_by_role("listitem")


def test_points_by_keyboard(playground, page):
    open_page(page, playground, "waves")
    with page.expect_request(lambda request: ":predict" in request.url and '"adapt"' in request.post_data) as caught:
        _add(page, "1.5", "-2")
    inputs = caught.value.post_data_json["inputs"]
    assert inputs == {"support_inputs": [[[1.5]]], "support_targets": [[[-2]]]}
    page.get_by_text("Adapted to 1 point. Loss on them:").wait_for()
    _add(page, "-3", "2.25")
    page.get_by_text("Adapted to 2 points.").wait_for()
    _points(page).first.get_by_role("button", name="Remove the point (1.50, -2.00)").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Adapted to 1 point.").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove the point (-3.00, 2.25)"
    page.get_by_role("button", name="Remove all").click()
    page.get_by_text("No points yet.").wait_for()
    assert _points(page).count() == page.locator("polyline").count() == page.locator("circle").count() == 0


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ("", "1", "x must be a number."),
        ("9", "1", "x must be from -5 to 5, received 9."),
        ("1", "-7", "y must be from -6"),
    ],
)
def test_points_that_cannot_be(playground, page, x, y, words):
    open_page(page, playground, "waves")
    _add(page, x, y)
    page.get_by_role("alert").get_by_text(words).wait_for()
    assert _points(page).count() == 0


def test_axes(playground, page):
    open_page(page, playground, "waves")
    page.get_by_text("Axes", exact=True).click()
    page.get_by_label("x to", exact=True).fill("9.5")
    page.get_by_label("y to", exact=True).fill("-8")
    page.get_by_label("y to", exact=True).blur()
    page.get_by_role("alert").get_by_text("The axis y must go up").wait_for()
    page.get_by_label("y to", exact=True).fill("6")
    page.get_by_label("y to", exact=True).blur()
    _add(page, "9", "1")
    page.get_by_text("Adapted to 1 point.").wait_for()
    assert page.get_by_role("alert").get_by_text("must").count() == 0


def test_a_random_wave_lies_on_the_plot(playground, page):
    open_page(page, playground, "waves")
    page.get_by_role("button", name="Five points of a random wave").click()
    page.get_by_text("Adapted to 5 points.").wait_for()
    assert page.locator("circle").count() == 5


def test_a_model_without_the_signature_of_the_curve_before(playground, page):
    def without(route):
        response = route.fetch()
        document = response.json()
        del document["metadata"]["signature_def"]["signature_def"]["initial_state"]
        route.fulfill(response=response, json=document)

    page.route("**/metadata", without)
    open_page(page, playground, "waves")
    page.get_by_text("the curve before adaptation cannot be shown").wait_for()
    _add(page, "1", "1")
    page.get_by_text("Adapted to 1 point.").wait_for()
    assert page.locator("polyline").count() == page.locator("polyline.after").count() == 1


def test_a_server_that_fails(playground, page):
    open_page(page, playground, "waves")
    _add(page, "1", "1")
    page.get_by_text("Adapted to 1 point.").wait_for()
    page.route("**/*:predict", lambda route: route.fulfill(status=504, body='{"error": "Timed out"}'))
    _add(page, "2", "1")
    page.get_by_role("alert").get_by_text("The server answered 504: Timed out. The server took too long.").wait_for()
    assert page.locator("polyline").count() == 0
    page.console_errors.clear()
