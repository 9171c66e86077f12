"""The client's programs, from files to answers."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest

from export.client.examples import read_support
from export.client.inputs import decoded
from tests.export.served import request
from tests.helpers.drawn_images import write_classes
from tests.helpers.programs import run_program, run_programs

ADAPT, PREDICT = "export.client.adapt", "export.client.predict"
HOSTILE = "<b>[red]x"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    write_classes(root / "support", ["bee", HOSTILE], images=2)
    write_classes(root / "queries", ["bee", HOSTILE], images=3)
    (root / "flat").mkdir()
    (root / "flat" / "one.png").write_bytes((root / "queries" / "bee" / "0.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def answered(folders, server, waves):
    """Everything that works, in processes that share their imports."""
    grpc, rest = f"--address=grpc://{server.grpc_address}", f"--address=http://127.0.0.1:{server.rest_port}"
    inputs = {name: array[0] for name, array in request(waves.model).items()}
    np.savez(folders / "waves.npz", **inputs)
    adapted, task = folders / "task.npz", f"--support={folders / 'support'}"
    query, page = f"--query={folders / 'queries'}", folders / "a.html"
    calls = {
        "adapt": [ADAPT, grpc, "--model=images", task, f"--output={adapted}"],
        "table": [PREDICT, grpc, f"--adapted={adapted}", query],
        "json": [PREDICT, rest, f"--adapted={adapted}", query, "--output_format=json"],
        "whole": [PREDICT, rest, "--model=images", task, query, "--output_format=json"],
        "flat": [PREDICT, grpc, f"--adapted={adapted}", f"--query={folders / 'flat'}", "--output_format=json"],
        "one": [PREDICT, grpc, f"--adapted={adapted}", f"--query={folders / 'flat' / 'one.png'}"],
        "html": [PREDICT, grpc, "--model=images", task, query, "--output_format=html", f"--output={page}"],
        "waves": [
            PREDICT, grpc, "--model=waves", f"--support={folders / 'waves.npz'}", f"--query={folders / 'waves.npz'}"
        ],
    }  # fmt: skip
    done = {}
    # gRPC does not survive a fork once it was used, and nothing before these was forked from a process that did.
    for name, finished in zip(calls, run_programs(list(calls.values())), strict=True):
        assert finished.code == 0, (name, finished.err)
        done[name] = finished.out
    return done


def test_adapting_tells_what_happened(answered, folders):
    assert re.fullmatch(
        r"images version 1 adapted to 4 examples of <b>\[red\]x, bee: support loss [\d.]+ before, [\d.]+ after; "
        rf"written to {re.escape(str(folders / 'task.npz'))}\n",
        answered["adapt"],
    )


def test_answers_are_those_of_the_library(answered, folders, images):
    support, queries = (read_support(folders / name) for name in ("support", "queries"))
    pixels, questions = (decoded(part.inputs, (16, 16, 1)) for part in (support, queries))
    expected = images.in_process.adapt(pixels, support.targets)
    for name in ("json", "whole"):
        document = json.loads(answered[name])
        assert tuple(document["class_names"]) == expected.class_names == (HOSTILE, "bee")
        values = [row["values"] for row in document["queries"]]
        np.testing.assert_allclose(values, expected.predict(questions), rtol=1e-5, atol=1e-5)
        assert [row["class"] for row in document["queries"]] == expected.classify(questions)
        right = [row["name"].startswith(row["class"] + "/") for row in document["queries"]]
        assert document["accuracy"] == pytest.approx(np.mean(right))
    flat = json.loads(answered["flat"])
    assert flat["accuracy"] is None and [row["name"] for row in flat["queries"]] == ["one.png"]


def test_tables_show_names_as_they_are(answered):
    assert f"{HOSTILE}/0.png" in answered["table"] and "% of 6 right" in answered["table"]
    assert "one.png" in answered["one"] and "right" not in answered["one"]
    assert len(re.findall(r"example \d", answered["waves"])) == 4


def test_the_contact_sheet_shows_images_and_obeys_no_name(answered, folders):
    page = (folders / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 4 + 6
    assert "<b>" not in page and html.escape(HOSTILE) in page
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    assert answered["html"] == ""


MISTAKES = [
    (PREDICT, ["--query=x"], "either --adapted=TASK.npz or --support=DIR"),
    (PREDICT, ["--query=x", "--adapted=missing.npz"], "x must be a folder of images, an image"),
    (ADAPT, ["--model=m", "--support={}/flat", "--output=o"], "must hold a folder for every class"),
    (ADAPT, ["--model=m", "--support={}/waves.txt", "--output=o"], "must be a folder of images"),
    (ADAPT, ["--support={}/support", "--output=o"], "name of a model is needed"),
    (ADAPT, ["--model=m", "--address=here", "--support={}/support", "--output=o"], "address must be like"),
    (ADAPT, ["--model=m", "--timeout_seconds=0", "--support={}/support", "--output=o"], "timeout must be a positive"),
]


def test_mistakes_are_one_line(folders):
    calls = [[module, *(flag.format(folders) for flag in flags)] for module, flags, _ in MISTAKES]
    for done, (_, _, message) in zip(run_programs(calls), MISTAKES, strict=True):
        assert done.code == 2
        assert len(done.messages) == 1 and message in done.messages[0], done.err


def test_in_a_process_of_its_own(folders, server, tmp_path):
    done = run_program(
        ADAPT,
        f"--address=http://127.0.0.1:{server.rest_port}",
        "--model=nobody",
        f"--support={folders / 'support'}",
        f"--output={tmp_path / 'o.npz'}",
    )
    assert done.code == 2 and "Check the model's name" in done.messages[-1]
    assert list(tmp_path.iterdir()) == []
