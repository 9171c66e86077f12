"""Draw, adapt, ask: the page shows what the model answers to the pixels of the drawing."""

from __future__ import annotations

import numpy as np

from tests.export.playground.pages import SHAPES, adapt, ask, give_examples, open_page, pixels, wait_for_bars


def test_a_drawing_is_answered_as_rest_answers_its_pixels(playground, page, images):
    open_page(page, playground, "images")
    give_examples(page, ["L", "T", "V"])
    sent, adapted = adapt(page)
    assert sent["support_labels"] == [[0, 1, 2]]
    request, answer = ask(page, SHAPES["L"])
    query = request["inputs"]
    assert request["signature_name"] == "predict"
    assert query["adapted_state"] == adapted["adapted_state"]
    assert query["model_fingerprint"] == adapted["model_fingerprint"]
    status, again, _ = playground.rest("POST", "/v1/models/images:predict", request)
    assert status == 200 and again == answer
    probabilities = answer["outputs"]["probabilities"][0][0]
    assert abs(sum(probabilities) - 1) < 1e-5
    support = {"support_inputs": pixels(sent, "support_inputs"), "support_labels": np.array([[0, 1, 2]], np.int32)}
    expected = images("serving_default", **support, query_inputs=pixels(query, "query_inputs"))
    np.testing.assert_allclose([[probabilities]], expected["probabilities"], atol=1e-5)
    wait_for_bars(page, probabilities)
    best = int(np.argmax(probabilities)) + 1
    page.get_by_text(f"Most likely Class {best}: {100 * max(probabilities):.1f} %.").wait_for()


def test_the_curve_before_and_after(playground, page, waves):
    """Both are the model's own, on the points that were clicked."""
    open_page(page, playground, "waves")
    plot = page.get_by_role("img", name="Plot of the points and curves")
    with page.expect_response(lambda response: "query_inputs" in (response.request.post_data or "")) as caught:
        plot.click(position={"x": 200, "y": 100})
    page.get_by_text("Adapted to 1 point.").wait_for()
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
