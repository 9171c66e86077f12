"""What users and strangers hand the client by mistake or on purpose is refused in words, never with a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import requests

from export.client import Answer, ClientError, FewShotClient, Settings
from export.client.answers import accuracy, as_json, as_table
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.inputs import as_targets
from export.client.interface import Interface
from tests.export.client.failing_servers import failing_http
from tests.helpers.drawn_images import encoded, pixels

TWENTY_WAYS = Interface(1, (1,), 20, True, False, {})


def test_images_that_would_look_otherwise_are_refused_wherever_they_lie(tmp_path):
    path = tmp_path / "classes" / "cat" / "0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded(np.zeros((4, 4, 4), np.uint8)))
    for read, place in ((read_support, "classes"), (read_queries, "classes/cat"), (read_queries, "classes/cat/0.png")):
        with pytest.raises(ClientError, match=f"{path} cannot be used: it has transparent pixels"):
            read(tmp_path / place)


@pytest.mark.parametrize(
    "inputs, labels, message",
    [
        (np.float32(1), np.arange(3), r"inputs \[\] and targets \[3\]"),
        (np.ones((3, 1)), np.int32(1), r"inputs \[3, 1\] and targets \[\]"),
        (np.ones((3, 1)), np.arange(2), r"and targets \[2\]"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, inputs, labels, message):
    for part, read in (("support", read_support), ("query", read_queries)):
        np.savez(tmp_path / "task.npz", **{f"{part}_inputs": inputs, f"{part}_labels": labels})
        with pytest.raises(ClientError, match=message):
            read(tmp_path / "task.npz")


def test_names_in_bytes_are_names_and_whole_numbers_are_sorted_by_value(tmp_path):
    np.savez(tmp_path / "queries.npz", query_inputs=np.ones((2, 1)), query_labels=np.array([b"a", b"b"]))
    queries = read_queries(tmp_path / "queries.npz")
    assert accuracy(Answer(np.eye(2, dtype=np.float32), ("a", "b")), queries) == 1.0
    labels, names = as_targets(np.array([b"dog", b"cat"]), TWENTY_WAYS, 2)
    assert (labels.tolist(), names) == ([[1, 0]], ("cat", "dog"))
    labels, names = as_targets(list(range(12)), TWENTY_WAYS, 12)
    assert labels.tolist() == [list(range(12))] and names == tuple(map(str, range(12)))
    for targets in (np.array([[0], [1]]), np.array([0.5, 1.0]), [0, None]):
        with pytest.raises(ClientError, match="must be names or whole numbers, received"):
            as_targets(targets, TWENTY_WAYS, 2)


ADDRESSES = ["", "127.0.0.1:8500", "ftp://host:1", "grpc://host", "http://", "http://host:port"]
ADDRESSES += ["http://u:p@host:1", "http://h:1?q"]


def test_addresses_choices_and_settings_that_are_none(tmp_path):
    (tmp_path / "bad.pem").write_text("rubbish")
    bad, nothing = tmp_path / "bad.pem", tmp_path / "nothing.pem"
    clients = [
        *(((address, "m"), {}, "the address must be like grpc://") for address in ADDRESSES),
        (("http://h", "m"), {"version": 1, "version_label": "stable"}, "version and label cannot be combined"),
        (("http://h", ""), {}, "the name of the model must be passed"),
        *((("http://h", "m"), {"version": version}, "version must be from 0") for version in (-1, 2**63)),
    ]
    settings = [
        *(({"timeout": timeout}, "timeout must be a positive number") for timeout in (0, float("inf"))),
        *(({"attempts": attempts}, "attempts must be from 1 to 5") for attempts in (0, 6)),
        ({"certificate": "x"}, "certificate and key must be passed together"),
        ({"ca_certificate": nothing}, r"nothing\.pem must be a PEM file"),
        ({"ca_certificate": bad}, r"bad\.pem must be PEM files"),
        ({"certificate": bad, "key": bad}, r"bad\.pem must be PEM files"),
    ]
    calls = [(FewShotClient, *row) for row in clients] + [(Settings, (), *row) for row in settings]
    for make, given, named, message in calls:
        with pytest.raises(ClientError, match=message):
            make(*given, **named)


def test_the_authority_that_was_given_counts_more_than_the_environment(monkeypatch):
    authority = Path(requests.certs.where())
    used = []

    def send(self, request, **options):
        used.append(options["verify"])
        raise requests.ConnectionError("seen")

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.path.realpath(__file__))
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    client = FewShotClient("https://h", "m", Settings(ca_certificate=authority))
    with client, pytest.raises(ClientError, match="seen"):
        client.interface()
    assert used == [str(authority)]


@pytest.mark.parametrize("status, calls", [(413, 1), (503, 2)])
def test_no_server_makes_the_client_wait_for_an_hour(monkeypatch, status, calls):
    waits = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    with failing_http(status, times=9, headers={"Retry-After": "3600"}) as server:
        client = FewShotClient(server.address, "m", Settings(attempts=2))
        with client, pytest.raises(ClientError, match="on purpose"):
            client.interface()
        assert server.calls == calls
    assert sum(waits) < 10


def test_names_cannot_command_the_terminal(tmp_path):
    answer = Answer(np.eye(2, dtype=np.float32), ("\x1b]0;x\x07", "b"))
    queries = ExampleSet([b"", b""], ["b", "b"], ("\x1b[2J", "ბ"))
    table = as_table(answer, queries)
    assert not {"\x1b", "\x07"} & set(table) and "ბ" in table
    # Names of files that are no text are shown.
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(encoded(pixels(0)))
    queries = read_queries(tmp_path)
    assert queries.names == ("\\xff.png",)
    as_json(Answer(np.ones((1, 1), np.float32), None), queries).encode()
