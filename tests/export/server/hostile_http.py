"""Requests over REST that mean no good, as bytes on the wire, and what the server must say to each."""

from __future__ import annotations

import gzip
import json
from typing import Any, NamedTuple

from tests.export.server.hostile_json import FEW_SHOT, FILES, IMAGES, JSON_BODIES

HALVER = "/v1/models/halver:predict"


class HttpAttack(NamedTuple):
    """What is sent, and what must come back.

    Attributes:
      name: of the attack.
      sent: everything that is written to the socket.
      status: of the first answer.
      message: part of its body.
      cut_off: whether the server may hang up before its answer is read, since it leaves unread what comes after.
    """

    name: str
    sent: bytes
    status: int
    message: str
    cut_off: bool = False


def post(body: bytes | str | Any, path: str = HALVER, headers: str = "", length: int | str | None = None) -> bytes:
    """A POST request; what is neither bytes nor text is written as JSON."""
    text = body if isinstance(body, bytes | str) else json.dumps(body)
    data = text.encode() if isinstance(text, str) else text
    size = f"Content-Length: {len(data) if length is None else length}\r\n" if length != "" else ""
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{size}{headers}\r\n".encode("latin-1") + data


def get(path: str, method: str = "GET", headers: str = "") -> bytes:
    """A request without body."""
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n".encode("latin-1")


_LINE = "x" * 200
_BOMB = gzip.compress(b" " * 50_000_000)
_PATHS: list[tuple[str, str, int, str]] = [
    ("up and out", "/v1/models/../../../etc/passwd:predict", 400, "Malformed request"),
    ("up and out, encoded", "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd:predict", 404, "Servable not found"),
    ("a zero byte in the name", "/v1/models/halver%00:predict", 404, "Servable not found"),
    ("bytes that are no UTF-8 in the name", "/v1/models/%ff%fe:predict", 404, "Servable not found"),
    ("an empty name", "/v1/models/:predict", 400, "Malformed request"),
    ("a name of spaces", "/v1/models/%20:predict", 404, "Servable not found"),
    ("a name of 8000 letters", f"/v1/models/{'a' * 8000}:predict", 404, "Servable not found"),
    ("a backslash", "/v1/models/..\\..\\x:predict", 404, "Servable not found"),
    ("two verbs", "/v1/models/halver:predict:predict", 400, "Malformed request"),
    ("a version below zero", "/v1/models/halver/versions/-1:predict", 400, "Malformed request"),
    ("a version that is no number", "/v1/models/halver/versions/one:predict", 400, "Malformed request"),
    ("a fraction as version", "/v1/models/halver/versions/1.0:predict", 400, "Malformed request"),
    ("no version", "/v1/models/halver/versions/:predict", 400, "Malformed request"),
    ("the largest version", "/v1/models/halver/versions/9223372036854775807:predict", 404, "Servable not found"),
    ("a version beyond the largest", "/v1/models/halver/versions/9223372036854775808:predict", 400, ""),
    ("a version of 5000 digits", f"/v1/models/halver/versions/{'9' * 5000}:predict", 400, ""),
    ("a version in other digits", "/v1/models/halver/versions/%D9%A1:predict", 400, "Malformed request"),
    ("a version and a label", "/v1/models/halver/versions/1/labels/first:predict", 400, "Malformed request"),
    ("an unknown label", "/v1/models/halver/labels/x:predict", 400, "Unrecognized servable version label"),
    ("a label with a path", "/v1/models/halver/labels/%2e%2e%2fx:predict", 400, "Unrecognized servable"),
    ("a slash behind", "/v1/models/halver:predict/", 400, "Malformed request"),
    ("a query", "/v1/models/halver:predict?x=1", 400, "Malformed request"),
    ("slashes without end", "/" * 4000, 404, "Not Found"),
    ("another API", "/v2/models/halver:predict", 404, "Not Found"),
    ("classify", "/v1/models/halver:classify", 501, "no classify and regress"),
    ("a script in the path", "/v1/<script>alert(1)</script>", 400, "Malformed request"),
]
_STATUS = "/v1/models/halver"
_CHUNKED = "Transfer-Encoding: chunked\r\n"
_OK = '{"instances": [1]}'
_WIRE: list[HttpAttack] = [
    HttpAttack("GET for a prediction", get(HALVER), 400, "Malformed request: GET"),
    HttpAttack("DELETE of a model", get(_STATUS, "DELETE"), 400, "Malformed request: DELETE"),
    HttpAttack("an invented method", get(HALVER, "PWN"), 400, "Malformed request: PWN"),
    HttpAttack("TRACE", get("/", "TRACE"), 404, "Not Found"),
    HttpAttack("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "Invalid HTTP"),
    HttpAttack("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, "Not Found"),
    HttpAttack("an unknown version of HTTP", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 404, "Not Found"),
    HttpAttack("no host", b"GET /v1/models/halver HTTP/1.1\r\n\r\n", 400, "Invalid HTTP"),
    HttpAttack("a header without colon", get(_STATUS, headers="nonsense\r\n"), 400, "Invalid HTTP"),
    HttpAttack("a zero byte in a header", get(_STATUS, headers="A: \0\r\n"), 400, "Invalid HTTP"),
    HttpAttack("a header of 200 kB", get(_STATUS, headers=f"A: {_LINE * 1000}\r\n"), 400, "Invalid HTTP", True),
    HttpAttack("5000 headers", get(_STATUS, headers=f"A: {_LINE}\r\n" * 5000), 400, "Invalid HTTP", True),
    HttpAttack("a path of 200 kB", get("/" + _LINE * 1000), 400, "Invalid HTTP", True),
    HttpAttack("a length below zero", post(_OK, length=-1), 400, "Invalid HTTP"),
    HttpAttack("a length that is no number", post(_OK, length="many"), 400, "Invalid HTTP"),
    HttpAttack("two lengths", post(_OK, headers="Content-Length: 3\r\n"), 400, "Invalid HTTP"),
    HttpAttack("a shorter length", post(_OK, length=5), 400, "JSON Parse error"),
    HttpAttack("no length", post(_OK, length=""), 400, "The document is empty"),
    HttpAttack("an unknown transfer encoding", post(_OK, headers="Transfer-Encoding: x\r\n"), 400, "Invalid HTTP"),
    HttpAttack(
        "chunks that are none",
        post(_OK + "\r\n", headers=_CHUNKED, length=""),
        400,
        "Invalid HTTP",
    ),
    HttpAttack(
        "chunks",
        post('5\r\n{"ins\r\n0d\r\ntances": [1]}\r\n0\r\n\r\n', headers=_CHUNKED, length=""),
        200,
        "2.5",
    ),
    HttpAttack(
        "a chunk of a size beyond all",
        post("f" * 40 + "\r\nx", headers=_CHUNKED, length=""),
        400,
        "Invalid HTTP",
    ),
    HttpAttack(
        "a chunk size below zero",
        post("-5\r\nhello\r\n0\r\n\r\n", headers=_CHUNKED, length=""),
        400,
        "Invalid HTTP",
    ),
    HttpAttack(
        "length and chunks",
        post('5\r\n{"ins\r\n0d\r\ntances": [1]}\r\n0\r\n\r\n', headers=_CHUNKED, length=5),
        200,
        "2.5",
    ),
    HttpAttack("another request behind", post(_OK) + get("/v1/models/nope"), 200, "2.5"),
    HttpAttack("garbage behind", post(_OK) + b"\0\xff garbage \r\n\r\n", 200, "2.5"),
    HttpAttack("an unknown content type", post(_OK, headers="Content-Type: image/png\r\n"), 200, "2.5"),
    HttpAttack("a broken content type", post(_OK, headers="Content-Type: ;;;=\xff\r\n"), 200, "2.5"),
    HttpAttack("no gzip", post(_OK, headers="Content-Encoding: gzip\r\n"), 400, "The document is empty"),
    HttpAttack(
        "gzip cut off",
        post(gzip.compress(_OK.encode())[:-9], headers="Content-Encoding: gzip\r\n"),
        400,
        "The document is empty",
    ),
    HttpAttack(
        "gzip with another checksum",
        post(gzip.compress(_OK.encode())[:-8] + b"\0" * 8, headers="Content-Encoding: gzip\r\n"),
        400,
        "The document is empty",
    ),
    HttpAttack("a gzip bomb", post(_BOMB, headers="Content-Encoding: gzip\r\n"), 413, "at most 4000000 bytes"),
    HttpAttack("gzip twice", post(gzip.compress(_BOMB), headers="Content-Encoding: gzip\r\n"), 400, "Invalid value"),
    HttpAttack("an unknown encoding", post(_BOMB, headers="Content-Encoding: zstd\r\n"), 400, "Invalid value"),
    HttpAttack("an upgrade", get(_STATUS, headers="Upgrade: websocket\r\nConnection: upgrade\r\n"), 200, ""),
    HttpAttack("a Host that is another", get(_STATUS, headers="X-Forwarded-Host: evil\r\n"), 200, ""),
    HttpAttack("a body of 5 MB", post(b" " * 5_000_000), 413, "at most 4000000 bytes"),
    HttpAttack("a body on a status page", get(_STATUS, headers="Content-Length: 5\r\n") + b"12345", 200, ""),
]

HTTP_ATTACKS: list[HttpAttack] = [
    *(HttpAttack(name, post(body), status, message) for name, body, status, message in JSON_BODIES),
    *(HttpAttack(name, post(body, path), status, message) for name, path, body, status, message in FEW_SHOT),
    *(
        HttpAttack(
            f"as a file: {name}",
            post(
                {
                    "signature_name": "adapt_and_predict_bytes",
                    "inputs": {
                        "support_inputs_bytes": [[{"b64": content}]],
                        "support_labels": [[0]],
                        "query_inputs_bytes": [[{"b64": content}]],
                    },
                },
                IMAGES,
            ),
            200,
            '"status": [3]',
        )
        for name, content in FILES
    ),
    *(HttpAttack(f"path: {name}", post("{}", path), status, message) for name, path, status, message in _PATHS),
    *_WIRE,
]
