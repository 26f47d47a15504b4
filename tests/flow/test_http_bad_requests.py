from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator

import pytest

from tests.service.snapshots import MadeSnapshot, live_store, random_entries
from tests.service_process import ServiceProcess, running_service

JSON = {"Content-Type": "application/json"}
PACKED = {"Content-Type": "application/octet-stream"}

pytestmark = pytest.mark.usefixtures("workers_live_on")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeSnapshot:
    return live_store(tmp_path_factory.mktemp("bad") / "store", random_entries(50))


@pytest.fixture(scope="module")
def service(made: MadeSnapshot) -> Iterator[ServiceProcess]:
    with running_service(made.store) as service:
        yield service


BOMB = b"[" * 2_000_000
BAD_JSON = {
    "empty": (b"", 400, "malformed_json"),
    "cut": (b'{"md5": ["', 400, "malformed_json"),
    "two values": (b'{"md5": []} {}', 400, "malformed_json"),
    "byte order mark": (b"\xef\xbb\xbf" + b'{"md5": []}', 400, "malformed_json"),
    "NaN": (b'{"md5": [NaN]}', 400, "malformed_json"),
    "lone surrogate": (rb'{"md5": ["\ud800"]}', 400, "malformed_json"),
    "not UTF-8": (b'{"md5": ["\xff"]}', 400, "malformed_json"),
    "nesting bomb": (BOMB, 400, "malformed_json"),
    "closed nesting bomb": (b'{"md5":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", 400, "malformed_json"),
    "nested objects": (b'{"a":' * 500_000, 400, "malformed_json"),
    "list": (b"[]", 400, "not_an_object"),
    "number": (b"7", 400, "not_an_object"),
    "null": (b"null", 400, "not_an_object"),
    "text": (b'"md5"', 400, "not_an_object"),
    "no column": (b"{}", 400, "empty_object"),
    "unknown column": (b'{"crc32": []}', 400, "unknown_column"),
    "upper-case column": (b'{"MD5": []}', 400, "unknown_column"),
    "unknown beside known": (b'{"md5": [], "pdq": []}', 400, "unknown_column"),
    "column is text": (b'{"md5": "00000000000000000000000000000000"}', 400, "not_a_list"),
    "column is null": (b'{"md5": null}', 400, "not_a_list"),
    "files is an object": (b'{"files": {}}', 400, "not_a_list"),
    "files and columns": (b'{"files": [], "md5": []}', 400, "mixed_forms"),
    "too many digests": (json.dumps({"md5": ["0" * 32] * 10_001}).encode(), 413, "too_many_digests"),
    "too many in two columns": (
        json.dumps({"md5": ["0" * 32] * 6000, "sha1": ["0" * 40] * 6000}).encode(), 413, "too_many_digests",
    ),
    "too many files": (json.dumps({"files": [{}] * 10_001}).encode(), 413, "too_many_digests"),
    "too many digests in files": (
        json.dumps({"files": [{"md5": "0" * 32, "sha1": "0" * 40}] * 5001}).encode(), 413, "too_many_digests",
    ),
    "too many in place": (json.dumps({"sha256": ["0" * 64] * 10_001}).encode(), 413, "too_many_digests"),
    "too large": (b" " * (4 * 1024 * 1024 + 1), 413, "body_too_large"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json(service: ServiceProcess, name: str) -> None:
    body, status, reason = BAD_JSON[name]
    answer = service.request("POST", "/v1/match", body, JSON)
    assert answer.problem() == (status, reason)
    assert b"0000000000" not in answer.body


def test_numbers_nulls_and_the_like_are_invalid_items_not_a_bad_request(service: ServiceProcess) -> None:
    reply = service.match({"md5": [7, None, True, 1.5, [], {}, "", "0" * 31, "g" * 32]})
    assert [i["reason"] for i in reply["invalid"]] == ["not_text"] * 6 + ["wrong_length"] * 2 + ["not_hex"]
    assert reply["checked"] == {"md5": 0}


def test_of_repeated_keys_the_last_counts_and_the_counts_tell(service: ServiceProcess) -> None:
    body = b'{"md5": ["%b"], "md5": []}' % (b"0" * 32)
    answer = service.request("POST", "/v1/match", body, JSON)
    assert (answer.status, answer.json()["checked"]) == (200, {"md5": 0})


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({}, 415, "content_type"),
        ({"Content-Type": "text/plain"}, 415, "content_type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "content_type"),
        ({"Content-Type": "application/json; charset=latin-1"}, 415, "content_type"),
        ({"Content-Type": "application/jsonl"}, 415, "content_type"),
        ({**JSON, "Content-Encoding": "gzip"}, 415, "content_encoding"),
        ({**JSON, "Content-Encoding": "identity, br"}, 415, "content_encoding"),
    ],
)
def test_wrong_or_compressed_content(
    service: ServiceProcess, headers: dict[str, str], status: int, reason: str
) -> None:
    body = gzip.compress(b'{"md5": []}') if "Content-Encoding" in headers else b'{"md5": []}'
    assert service.request("POST", "/v1/match", body, headers).problem() == (status, reason)


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json; q=1"]
)
def test_json_with_parameters(service: ServiceProcess, kind: str) -> None:
    headers = {"Content-Type": kind, "Content-Encoding": "identity"}
    assert service.request("POST", "/v1/match", b'{"md5": []}', headers).status == 200


@pytest.mark.parametrize(
    ("query", "body", "reason"),
    [
        ("", b"", "algorithm_missing"),
        ("?algoritm=md5", b"", "algorithm_missing"),
        ("?algorithm=", b"", "algorithm_unknown"),
        ("?algorithm=MD5", b"", "algorithm_unknown"),
        ("?algorithm=pdq", b"", "algorithm_unknown"),
        ("?algorithm=md5&algorithm=md5", b"", "algorithm_repeated"),
        ("?algorithm=md5", b"x" * 17, "packed_length"),
        ("?algorithm=photodna", b"x" * 143, "packed_length"),
    ],
)
def test_bad_packed_requests(service: ServiceProcess, query: str, body: bytes, reason: str) -> None:
    assert service.request("POST", f"/v1/match{query}", body, PACKED).problem() == (400, reason)


def test_packed_limits(service: ServiceProcess) -> None:
    most = bytes(16 * 10_000)
    assert service.request("POST", "/v1/match?algorithm=md5", most, PACKED).json()["checked"] == {"md5": 10_000}
    over = service.request("POST", "/v1/match?algorithm=md5", most + bytes(16), PACKED)
    assert over.problem() == (413, "too_many_digests")
    assert service.request("POST", "/v1/match?x=1&algorithm=%6dd5", bytes(16), PACKED).json()["checked"] == {"md5": 1}
    assert service.request("POST", "/v1/match?algorithm=md5", b"", PACKED).json()["checked"] == {"md5": 0}


def test_methods_and_paths(service: ServiceProcess) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = service.request(method, "/v1/match")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert method == "HEAD" or answer.problem() == (405, "method_not_allowed")
    for path in ("/", "/v1", "/v1/match/", "/v1//match", "/docs/redoc.standalone.js", "/docs/../app.py", "/redoc"):
        assert service.request("GET", path).problem() == (404, "not_found")
    answer = service.request("POST", "/readyz")
    assert (answer.problem(), answer.headers["allow"]) == ((405, "method_not_allowed"), "GET, HEAD")


def test_no_digest_of_a_request_is_ever_logged(service: ServiceProcess) -> None:
    digest = random.randbytes(32).hex()
    for body in (
        json.dumps({"sha256": [digest]}),
        json.dumps({"sha256": digest}),
        f'{{"sha256": ["{digest}"',
        json.dumps({digest: []}),
    ):
        assert digest.encode() not in service.request("POST", "/v1/match", body.encode(), JSON).body
    assert digest not in service.log
