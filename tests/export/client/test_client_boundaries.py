"""What users and strangers hand the client by mistake or on purpose is refused in words, never with a traceback."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import requests

from export.client import Adapted, Answer, ClientError, FewShotClient, Settings
from export.client.answers import accuracy, as_json, as_table
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.inputs import as_targets
from export.client.interface import Interface
from tests.export.client.failing_servers import failing_http
from tests.helpers.drawn_images import encoded, pixels

ADAPTED = Adapted("images", 1, ("a", "b"), np.arange(300, dtype=np.float32), 12345)
TWENTY_WAYS = Interface(1, (1,), 20, True, False, {})
IMAGES, NAMES = np.zeros((2, 16, 16, 1), np.float32), ["a", "b"]


def test_bytes_changed_at_random_are_read_or_refused(tmp_path):
    path, generator = tmp_path / "task.npz", np.random.default_rng(0)
    ADAPTED.save(path)
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        content = bytearray(whole)
        for position in generator.integers(0, len(content), 3):
            content[position] = generator.integers(256)
        path.write_bytes(content)
        for read in (Adapted.load, read_support):
            try:
                read(path)
            except ClientError:
                refused += 1
    assert refused > 400


@pytest.mark.parametrize("read", [Adapted.load, read_support, read_queries])
def test_files_of_another_kind_are_not_offered_for_unpickling(tmp_path, read):
    np.save(tmp_path / "array.npy", np.arange(3))
    (tmp_path / "text.npz").write_text("hello")
    for name in ("array.npy", "text.npz"):
        with pytest.raises(ClientError, match=r"is no \.npz file") as caught:
            read(tmp_path / name)
        assert "pickle" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"class_names": ()}, {"fingerprint": 2**40}, {"version": -3}],
)
def test_values_that_the_client_never_writes_are_refused(tmp_path, change):
    dataclasses.replace(ADAPTED, **change).save(tmp_path / "task.npz")
    with pytest.raises(ClientError, match="never writes: adapt again"):
        Adapted.load(tmp_path / "task.npz")


def test_images_that_would_look_otherwise_are_refused_wherever_they_lie(tmp_path):
    path = tmp_path / "classes" / "cat" / "0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded(np.zeros((4, 4, 4), np.uint8)))
    for read, place in ((read_support, "classes"), (read_queries, "classes/cat"), (read_queries, "classes/cat/0.png")):
        with pytest.raises(ClientError, match=f"{path} cannot be used: it has transparent pixels"):
            read(tmp_path / place)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"support_inputs": np.float32(1), "support_labels": np.arange(3)}, r"inputs \[\] and targets \[3\]"),
        ({"support_inputs": np.ones((3, 1)), "support_labels": np.int32(1)}, r"inputs \[3, 1\] and targets \[\]"),
        ({"support_inputs": np.ones((3, 1)), "support_labels": np.arange(2)}, r"and targets \[2\]"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "task.npz", **arrays)
    with pytest.raises(ClientError, match=message):
        read_support(tmp_path / "task.npz")
    queries = {name.replace("support", "query"): array for name, array in arrays.items()}
    np.savez(tmp_path / "queries.npz", **queries)
    with pytest.raises(ClientError, match=message):
        read_queries(tmp_path / "queries.npz")


def test_names_in_bytes_are_names(tmp_path):
    np.savez(tmp_path / "queries.npz", query_inputs=np.ones((2, 1)), query_labels=np.array([b"a", b"b"]))
    queries = read_queries(tmp_path / "queries.npz")
    assert accuracy(Answer(np.eye(2, dtype=np.float32), ("a", "b")), queries) == 1.0
    labels, names = as_targets(np.array([b"dog", b"cat"]), TWENTY_WAYS, 2)
    assert (labels.tolist(), names) == ([[1, 0]], ("cat", "dog"))


def test_whole_numbers_are_sorted_by_value_as_the_library_does():
    labels, names = as_targets(list(range(12)), TWENTY_WAYS, 12)
    assert labels.tolist() == [list(range(12))] and names == tuple(map(str, range(12)))


@pytest.mark.parametrize("targets", [np.array([[0], [1]]), np.array([0.5, 1.0]), [0, None]])
def test_what_are_no_classes(targets):
    with pytest.raises(ClientError, match="must be names or whole numbers, received"):
        as_targets(targets, TWENTY_WAYS, 2)


@pytest.mark.parametrize("support, targets", [(np.float32(1), NAMES), (IMAGES, None)])
def test_single_values_are_refused(server, support, targets):
    client = FewShotClient(f"http://127.0.0.1:{server.rest_port}", "images")
    with client, pytest.raises(ClientError, match="an array or a list was expected"):
        client.adapt(support, targets)


def test_a_task_of_another_kind_of_model_is_refused(server):
    with FewShotClient(f"http://127.0.0.1:{server.rest_port}", "images") as client:
        for names in (None, ("a", "b", "c", "d")):
            with pytest.raises(ClientError, match="tells 3 classes apart: adapt again"):
                client.predict(dataclasses.replace(ADAPTED, class_names=names), IMAGES)


@pytest.mark.parametrize("choice", [{"version": 2}, {"version_label": "stable"}])
def test_another_version_than_the_one_that_adapted_is_not_silently_replaced(choice):
    client = FewShotClient("http://127.0.0.1:1", "images", **choice)
    with client, pytest.raises(ClientError, match="adapted by version 1, which alone can answer"):
        client.predict(ADAPTED, IMAGES)


@pytest.mark.parametrize("version", [-1, 2**63])
def test_versions_have_bounds(version):
    with pytest.raises(ClientError, match="a version is a number"):
        FewShotClient("http://127.0.0.1:1", "images", version=version)


def test_certificates_that_are_none_are_named(tmp_path):
    (tmp_path / "bad.pem").write_text("rubbish")
    for files in ({"ca_certificate"}, {"certificate", "key"}):
        with pytest.raises(ClientError, match=r"bad\.pem must be PEM files"):
            Settings(**dict.fromkeys(files, tmp_path / "bad.pem"))
    with pytest.raises(ClientError, match="timeout must be"):
        Settings(timeout=float("inf"))


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


def test_names_cannot_command_the_terminal():
    answer = Answer(np.eye(2, dtype=np.float32), ("\x1b]0;x\x07", "b"))
    queries = ExampleSet([b"", b""], ["b", "b"], ("\x1b[2J", "ბ"))
    table = as_table(answer, queries)
    assert not {"\x1b", "\x07"} & set(table) and "ბ" in table


def test_file_names_that_are_no_text_are_shown(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(encoded(pixels(0)))
    queries = read_queries(tmp_path)
    assert queries.names == ("\\xff.png",)
    as_json(Answer(np.ones((1, 1), np.float32), None), queries).encode()
