from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from service.replies import AliveReply, ColumnsReply, FilesReply, ReadyReply, SnapshotReply
from snapshot.algorithms import ALGORITHMS
from tests.service import reference
from tests.service.snapshots import MadeSnapshot, live_store, random_digest, random_entries
from tests.service_process import ServiceProcess, raw_request, running_service


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeSnapshot:
    return live_store(
        tmp_path_factory.mktemp("http") / "store", random_entries(500, ("md5", "sha1", "sha256", "photodna"))
    )


@pytest.fixture(scope="module")
def service(made: MadeSnapshot) -> Iterator[ServiceProcess]:
    with running_service(made.store) as service:
        yield service


@pytest.mark.parametrize("form", ["column", "packed", "file"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_form_and_algorithm(service: ServiceProcess, made: MadeSnapshot, algorithm: str, form: str) -> None:
    known = list(made.entries.get(algorithm, {}))
    digests = [
        random.choice(known) if known and random.random() < 0.3 else random_digest(algorithm) for _ in range(200)
    ]
    texts: list[object] = [d.hex() for d in digests]
    if form == "packed":
        headers = {"Content-Type": "application/octet-stream"}
        answer = service.request("POST", f"/v1/match?algorithm={algorithm}", b"".join(digests), headers)
        reply = answer.json()
    elif form == "column":
        reply = service.match({algorithm: texts})
    else:
        files: list[object] = [{"ref": str(i), algorithm: text} for i, text in enumerate(texts)]
        reply = service.match({"files": files})
        assert reply == reference.files_reply(made.entries, made.snapshot_id, files)
        FilesReply.model_validate(reply)
        return
    assert reply == reference.columns_reply(made.entries, made.snapshot_id, {algorithm: texts})
    ColumnsReply.model_validate(reply)


def test_no_listed_digest_is_ever_missed_and_no_other_matches(service: ServiceProcess, made: MadeSnapshot) -> None:
    for name in made.entries:
        on = [d.hex() for d, labels in made.entries[name].items() if reference.verdict(labels)]
        reply = service.match({name: on})
        assert [m["index"] for m in reply["matches"]] == list(range(len(on)))
    reply = service.match({"sha256": [random.randbytes(32).hex() for _ in range(10_000)]})
    assert reply["checked"] == {"sha256": 10_000}
    assert reply["matches"] == reply["invalid"] == []


def test_probes_and_snapshot(service: ServiceProcess, made: MadeSnapshot) -> None:
    ready = ReadyReply.model_validate(service.get("/readyz").json())
    assert (ready.generation, ready.snapshot_id, ready.refused) == (1, made.snapshot_id, None)
    AliveReply.model_validate(service.get("/livez").json())
    shown = SnapshotReply.model_validate(service.get("/v1/snapshot").json())
    assert shown.algorithms == dict.fromkeys(("md5", "sha1", "sha256", "photodna"), 500)
    assert {c.tier.value: c.action for c in shown.classes} == {
        "baseline": "block", "illegal": "block", "investigative": "review", "other": None, "unknown": None,
    }  # fmt: skip
    assert all(sum(c.entries.values()) > 0 for c in shown.classes)
    assert [facts.list_id for facts in shown.lists] == ["clearing", "hotline", "police"]


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/v1/snapshot", "/docs", "/openapi.json", "/docs/swagger-ui.css"]
)
def test_head_as_get_without_body(service: ServiceProcess, path: str) -> None:
    got, head = service.get(path), service.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_all_workers_serve_one_page_cache_of_verified_files(service: ServiceProcess) -> None:
    assert len(service.workers) == 2
    assert service.log.count("snapshot verified") == 1  # the other found the note
    assert service.log.count("snapshot live") == 2


def test_the_examples_of_openapi_work(service: ServiceProcess) -> None:
    operation = service.get("/openapi.json").json()["paths"]["/v1/match"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"by_column", "by_file"}
    for example in examples.values():
        reply = service.match(example["value"])
        (FilesReply if "files" in reply else ColumnsReply).model_validate(reply)
    assert hashlib.sha256(b"tulip").hexdigest() in examples["by_column"]["value"]["sha256"]


def test_pipelined_requests_are_answered_in_order(service: ServiceProcess, made: MadeSnapshot) -> None:
    listed = next(d for d, labels in made.entries["md5"].items() if reference.verdict(labels)).hex()
    bodies = [b'{"md5": ["%b"]}' % text.encode() for text in [listed, "0" * 32] * 20]
    requests = [
        b"POST /v1/match HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
        % (len(body), b"Connection: close\r\n" if i == 39 else b"", body)
        for i, body in enumerate(bodies)
    ]
    received = raw_request(service, b"".join(requests))
    replies = [part for part in received.split(b"HTTP/1.1 200 OK") if part]
    assert ['matches":[{' in part.decode() for part in replies] == [True, False] * 20


def test_chunked_and_expect_continue(service: ServiceProcess) -> None:
    head = b"POST /v1/match HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    chunked = raw_request(
        service, head + b"Transfer-Encoding: chunked\r\n\r\n", b'7\r\n{"md5":\r\n', b"3\r\n[]}\r\n0\r\n\r\n", pause=0.05
    )
    assert chunked.startswith(b"HTTP/1.1 200 OK")
    waited = raw_request(
        service, head + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", b'{"md5":[]}', pause=0.2
    )
    assert waited.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
