"""The classifier's page: by keyboard, on a phone, with files, with fewer classes, and when things go wrong."""

from __future__ import annotations

import json
import re
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tests.export.playground.pages import (
    PADS,
    SHAPES,
    adapt,
    ask,
    draw,
    give_examples,
    open_page,
    pixels,
    shown,
    wait_for_bars,
)

slow = pytest.mark.slow


def test_a_drawing_is_answered_as_rest_answers_its_pixels(playground, page, images):
    open_page(page, playground, "images")
    give_examples(page, ["L", "T", "V"])
    sent, adapted = adapt(page)
    assert sent["support_labels"] == [[0, 1, 2]]
    request, answer = ask(page, SHAPES["L"])
    query = request["inputs"]
    assert request["signature_name"] == "predict"
    assert all(query[name] == adapted[name] for name in ("adapted_state", "model_fingerprint"))
    probabilities = answer["outputs"]["probabilities"][0][0]
    assert abs(sum(probabilities) - 1) < 1e-5
    support = {"support_inputs": pixels(sent, "support_inputs"), "support_labels": np.array([[0, 1, 2]], np.int32)}
    expected = images("serving_default", **support, query_inputs=pixels(query, "query_inputs"))
    np.testing.assert_allclose([[probabilities]], expected["probabilities"], atol=1e-5)
    wait_for_bars(page, probabilities)
    best = int(np.argmax(probabilities)) + 1
    page.get_by_text(f"Most likely Class {best}: {100 * max(probabilities):.1f} %.").wait_for()


@slow
def test_drawings_look_like_the_data(playground, page):
    """Dark ink on white, centred, of one size wherever and however large it was drawn."""
    open_page(page, playground, "images")
    small = [[(0.1 + 0.3 * x, 0.6 + 0.3 * y) for x, y in stroke] for stroke in SHAPES["L"]]
    draw(page, "examples", small)
    page.get_by_role("button", name="Add the drawing to Class 1").click()
    draw(page, "examples", SHAPES["L"])
    page.get_by_role("button", name="Add the drawing to Class 2").click()
    pictures = pixels(adapt(page)[0], "support_inputs")[0]
    assert pictures.shape == (2, 16, 16, 1)
    assert pictures.max() == 1 and pictures.min() < 0.1
    for picture in pictures[..., 0]:
        rows, columns = np.where(picture < 0.6)
        for places in (rows, columns):
            assert abs((places.min() + places.max()) / 2 - 7.5) <= 1
        # The larger side of a glyph is 18 of 28 pixels.
        assert abs(rows.max() - rows.min() + 1 - 16 * 18 / 28) <= 1.5
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.05


@slow
def test_the_keyboard_is_enough(playground, page):
    open_page(page, playground, "images")
    for number, letter in enumerate("LOX", 1):
        _type(page, "examples", letter)
        button = page.get_by_role("button", name=f"Add the drawing to Class {number}")
        button.focus()
        page.keyboard.press("Enter")
        name = page.get_by_role("textbox", name=f"Name of class {number}")
        name.focus()
        page.keyboard.press("Control+A")
        page.keyboard.type(f"letter {letter}")
    page.get_by_role("button", name="Adapt to the examples").focus()
    with page.expect_response(lambda response: response.url.endswith(":predict")):
        page.keyboard.press("Space")
    page.get_by_text("Adapted to 3 examples of 3 classes").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Adapt to the examples"
    with page.expect_response(lambda response: response.url.endswith(":predict")) as caught:
        _type(page, "queries", "O")
    wait_for_bars(page, caught.value.json()["outputs"]["probabilities"][0][0])
    assert list(shown(page)) == ["letter L", "letter O", "letter X"]
    page.get_by_text(re.compile(r"Most likely letter [LOX]: \d+\.\d %\.")).wait_for()
    remove = page.get_by_role("list", name="Examples of letter X").get_by_role("button")
    remove.focus()
    page.keyboard.press("Enter")
    page.get_by_text("The examples have changed: adapt again").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Add the drawing to letter X"


@slow
def test_every_control_has_a_name_and_shows_the_focus(playground, page):
    open_page(page, playground, "images")
    visited = []
    for _ in range(60):
        page.keyboard.press("Tab")
        visited.append(page.evaluate(_FOCUSED))
        if visited[-1] is None:
            break
    visited = [entry for entry in visited if entry]
    assert len(visited) > 20
    assert all(outlined for _, outlined in visited), visited
    for control in page.locator("button:visible, input:visible, select:visible").all():
        assert control.evaluate(_NAME), control.evaluate("element => element.outerHTML")


@slow
def test_fewer_classes_are_renormalised(playground, page):
    open_page(page, playground, "images")
    for number, shape in ((1, "L"), (3, "V")):
        draw(page, "examples", SHAPES[shape])
        page.get_by_role("button", name=f"Add the drawing to Class {number}").click()
    assert adapt(page)[0]["support_labels"] == [[0, 1]]
    _, answer = ask(page, SHAPES["T"])
    first, second, unused = answer["outputs"]["probabilities"][0][0]
    assert unused > 1e-3
    wait_for_bars(page, [first / (first + second), second / (first + second)])
    assert list(shown(page)) == ["Class 1", "Class 3"]


@slow
def test_an_opened_image_is_asked_about_and_a_stroke_replaces_it(playground, page):
    open_page(page, playground, "images")
    give_examples(page, ["L", "T"])
    adapt(page)
    grey = tf.io.encode_png(np.full((30, 30, 1), 51, np.uint8)).numpy()
    queries = page.get_by_role("group", name="Pad for queries")
    with page.expect_response("**/*:predict") as caught:
        queries.get_by_label("Or open an image", exact=True).set_input_files(
            [{"name": "grey.png", "mimeType": "image/png", "buffer": grey}]
        )
    np.testing.assert_allclose(pixels(caught.value.request.post_data_json["inputs"], "query_inputs"), 0.2, atol=1e-6)
    request, _ = ask(page, SHAPES["L"])
    assert pixels(request["inputs"], "query_inputs").max() == 1
    queries.get_by_role("button", name="Undo").click()
    page.wait_for_function("[...document.querySelectorAll('progress')].every((bar) => bar.value === 0)")


@slow
def test_white_ink_on_black(playground, page):
    open_page(page, playground, "images")
    give_examples(page, ["L", "T"])
    adapt(page)
    plain, _ = ask(page, SHAPES["V"])
    with page.expect_request("**/*:predict") as caught:
        page.get_by_label("The model was trained on white ink on black").check()
    inverted = pixels(caught.value.post_data_json["inputs"], "query_inputs")
    assert inverted[0, 0, 0, 0] == 0
    np.testing.assert_allclose(1 - inverted, pixels(plain["inputs"], "query_inputs"), atol=1.01 / 255)


@slow
def test_what_is_missing_or_no_image_is_said(playground, page):
    open_page(page, playground, "images")
    page.get_by_role("button", name="Add the drawing to Class 1").click()
    page.get_by_text("The pad is empty").wait_for()
    page.get_by_role("button", name="Adapt to the examples").click()
    page.get_by_text("Add examples of at least two classes first.").wait_for()
    draw(page, "queries", SHAPES["L"])
    page.get_by_text("Adapt to some examples first.").wait_for()
    upload = page.get_by_label("Upload images of Class 1")
    upload.set_input_files([{"name": "words.txt", "mimeType": "text/plain", "buffer": b"words"}])
    page.get_by_text("words.txt is not an image that this browser can read.").wait_for()


@slow
def test_only_the_last_query_counts(playground, page):
    open_page(page, playground, "images")
    give_examples(page, ["L", "T", "V"])
    adapt(page)
    held, failed = [], []
    page.on("requestfailed", lambda request: failed.append(request.post_data))

    def hold_the_first(route):
        if held:
            route.continue_()
        else:
            held.append(route.request.post_data)

    page.route("**/*:predict", hold_the_first)
    with page.expect_request("**/*:predict"):
        draw(page, "queries", SHAPES["T"][:1])
    request, answer = ask(page, SHAPES["T"][1:])
    wait_for_bars(page, answer["outputs"]["probabilities"][0][0])
    assert failed == held and json.loads(held[0])["inputs"]["query_inputs"] != request["inputs"]["query_inputs"]


FAILURES = [
    ({"status": 429, "body": '{"error": "too many"}'}, "The server answered 429: too many. The server is busy."),
    ({"status": 502, "body": "<html>"}, "The server answered 502: Bad Gateway. See the log of the server."),
    ({"status": 200, "body": "<html>"}, "The answer of the server is not JSON"),
    ({"status": 200, "body": '{"outputs": {"status": [1]}}'}, "Adaptation diverged"),
    (None, "The server cannot be reached. Check that it is still running"),
]


@slow
def test_a_server_that_fails(playground, page):
    open_page(page, playground, "images")
    give_examples(page, ["L", "T"])
    for answer, words in FAILURES:
        page.route("**/*:predict", partial(_fail, answer))
        page.get_by_role("button", name="Adapt to the examples").click()
        page.get_by_role("alert").get_by_text(words).wait_for()
        page.get_by_text("Not adapted.").wait_for()
        page.unroute("**/*:predict")
        adapt(page)
        assert page.get_by_role("alert").get_by_text(words).count() == 0
    page.console_errors.clear()


@slow
def test_a_state_of_another_version(playground, page):
    open_page(page, playground, "images")
    give_examples(page, ["L", "T"])
    adapt(page)

    def other_version(route):
        document = route.request.post_data_json
        document["inputs"]["model_fingerprint"] = [7]
        route.continue_(post_data=json.dumps(document))

    page.route("**/*:predict", other_version)
    draw(page, "queries", SHAPES["L"])
    page.get_by_text("The server now has another version of the model. Adapt again.").wait_for()
    assert set(shown(page).values()) == {0}


def _fail(answer, route):
    if answer:
        route.fulfill(**answer)
    else:
        route.abort()


def _type(page, pad, letter):
    group = page.get_by_role("group", name=PADS[pad])
    group.get_by_label("Or type a character").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(letter)
    page.keyboard.press("Enter")


# Name and whether the outline shows, or null once the focus has left the page.
_FOCUSED = """() => {
    const element = document.activeElement;
    if (element === document.body) return null;
    const shown = element.matches(".button input") ? element.parentElement : element;
    return [element.outerHTML, parseFloat(getComputedStyle(shown).outlineWidth) >= 2];
}"""
_NAME = """element => element.getAttribute("aria-label") || element.labels?.[0]?.textContent.trim()
    || (element.tagName === "BUTTON" && element.textContent.trim())"""
