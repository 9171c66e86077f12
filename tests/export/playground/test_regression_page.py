"""The page of a regression: points and curves, by mouse and keyboard, and when things go wrong."""

import numpy as np
import pytest


def _add(page, x, y):
    for name, value in (("x", x), ("y", y)):
        page.get_by_label(name, exact=True).focus()
        page.keyboard.press("Control+A")
        page.keyboard.type(value)
    page.keyboard.press("Enter")


def _points(page):
    return page.get_by_role("list", name="Points").get_by_role("listitem")


@pytest.mark.slow
def test_the_curve_before_and_after(look, waves):
    """Both are the model's own, on the points that were clicked."""
    page = look("waves")
    plot = page.get_by_role("img", name="Plot of the points and curves")
    with page.expect_response(lambda response: "query_inputs" in (response.request.post_data or "")) as caught:
        plot.click(position={"x": 200, "y": 100})
    page.sees("Adapted to 1 point.")
    asked, answered = caught.value.request.post_data_json["inputs"], caught.value.json()["outputs"]
    assert page.locator("circle").count() == 1 and page.locator("polyline").count() == 2
    words = page.get_by_role("list", name="Points").inner_text().split("\n")[0].strip(" ×()")
    x, y = (float(number) for number in words.split(", "))
    assert -5 < x < 5 and 0 < y < 6
    inputs = {"support_inputs": [[[x]]], "support_targets": [[[y]]], "query_inputs": asked["query_inputs"][:1]}
    expected = waves("serving_default", **{name: np.array(value, np.float32) for name, value in inputs.items()})
    # The point is shown with two digits.
    np.testing.assert_allclose(answered["predictions"][0], expected["predictions"][0], atol=0.02)
    assert not np.array_equal(answered["predictions"][0], answered["predictions"][1])
    before, after = (page.locator(f"polyline.{name}").get_attribute("points") for name in ("before", "after"))
    assert before != after


@pytest.mark.slow
def test_points_and_axes_by_keyboard(look):
    page = look("waves")
    for x, y, words in (
        ("", "1", "x must be a number."),
        ("9", "1", "from -5 to 5, received 9."),
        ("1", "-7", "from -6"),
    ):
        _add(page, x, y)
        page.alerts(words)
        assert _points(page).count() == 0
    with page.expect_request(lambda request: ":predict" in request.url and '"adapt"' in request.post_data) as caught:
        _add(page, "1.5", "-2")
    inputs = caught.value.post_data_json["inputs"]
    assert inputs == {"support_inputs": [[[1.5]]], "support_targets": [[[-2]]]}
    page.sees("Adapted to 1 point. Loss on them:")
    _add(page, "-3", "2.25")
    page.sees("Adapted to 2 points.")
    _points(page).first.get_by_role("button", name="Remove the point (1.50, -2.00)").focus()
    page.keyboard.press("Enter")
    page.sees("Adapted to 1 point.")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove the point (-3.00, 2.25)"
    page.button("Remove all").click()
    page.sees("No points yet.")
    assert _points(page).count() == page.locator("polyline").count() == page.locator("circle").count() == 0
    page.get_by_text("Axes", exact=True).click()
    page.get_by_label("x to", exact=True).fill("9.5")
    for value, message in (("-8", "The axis y must end above its start"), ("6", None)):
        page.get_by_label("y to", exact=True).fill(value)
        page.get_by_label("y to", exact=True).blur()
        if message:
            page.alerts(message)
    _add(page, "9", "1")
    page.sees("Adapted to 1 point.")
    assert page.get_by_role("alert").get_by_text("must").count() == 0


@pytest.mark.slow
def test_a_random_wave_a_server_that_fails_and_a_model_without_the_curve_before(look):
    page = look("waves")
    page.button("Five points of a random wave").click()
    page.sees("Adapted to 5 points.")
    assert page.locator("circle").count() == 5
    page.route("**/*:predict", lambda route: route.fulfill(status=504, body='{"error": "Timed out"}'))
    _add(page, "2", "1")
    page.alerts("The server answered 504: Timed out. The server took too long.")
    assert page.locator("polyline").count() == 0
    page.errors.clear()

    def without(route):
        response = route.fetch()
        document = response.json()
        del document["metadata"]["signature_def"]["signature_def"]["initial_state"]
        route.fulfill(response=response, json=document)

    page.unroute("**/*:predict")
    page.route("**/metadata", without)
    page.reload()
    page.sees("the curve before adaptation cannot be shown")
    _add(page, "1", "1")
    page.sees("Adapted to 1 point.")
    assert page.locator("polyline").count() == page.locator("polyline.after").count() == 1
