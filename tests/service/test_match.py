from __future__ import annotations

import base64
import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.forms import Files, read_json, read_packed
from service.match import match_columns, match_files
from service.replies import ColumnsReply, FilesReply
from service.view import View
from snapshot.algorithms import ALGORITHMS
from tests.service import reference
from tests.service.snapshots import LABEL_SETS, MadeSnapshot, random_digest

pytestmark = pytest.mark.filterwarnings("error")
SHARED_VIEW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ask(view: View, request: object) -> Any:
    read = read_json(orjson.dumps(request), 10_000)
    return orjson.loads(match_files(view, read) if isinstance(read, Files) else match_columns(view, read))


def listed(made: MadeSnapshot, algorithm: str, label_set: int = 0) -> bytes:
    return next(d for d, labels in made.entries[algorithm].items() if labels == LABEL_SETS[label_set])


def test_reply_by_column_to_the_letter(view: View, made: MadeSnapshot) -> None:
    digest, referenced = listed(made, "sha256"), listed(made, "md5", 2)
    unlisted = random_digest("sha256").hex()
    request = {
        "sha256": [unlisted, digest.hex().upper(), "x"],
        "sha512": ["00" * 64],
        "md5": [referenced.hex()],
        "sha1": [],
    }
    read = read_json(orjson.dumps(request), 10)
    assert not isinstance(read, Files)
    assert match_columns(view, read).decode() == json.dumps(
        {
            "snapshot_id": made.snapshot_id,
            "overlay_version": 1,
            "checked": {"sha256": 2, "md5": 1, "sha1": 0},
            "not_loaded": {"sha512": 1},
            "matches": [
                {
                    "algorithm": "sha256", "index": 1, "digest": digest.hex(), "action": "block",
                    "labels": [{"list_id": "police", "category": "A", "tier": "baseline"}],
                },
                {
                    "algorithm": "md5", "index": 0, "digest": referenced.hex(), "action": "block",
                    "labels": [{"list_id": "hotline", "category": "illegal", "tier": "illegal", "reference": "case-7"}],
                },
            ],
            "invalid": [{"algorithm": "sha256", "index": 2, "reason": "wrong_length"}],
        },
        separators=(",", ":"),
    )  # fmt: skip


def test_reply_by_file_to_the_letter(view: View, made: MadeSnapshot) -> None:
    digest, review = listed(made, "sha256"), listed(made, "md5", 3)
    files = [
        {"ref": "a", "md5": review.hex(), "sha256": digest.hex()},
        {"ref": "b", "sha256": random_digest("sha256").hex()},
        {"sha512": random_digest("sha512").hex()},
        {"ref": "d", "sha1": "g" * 40},
    ]
    read = read_json(orjson.dumps({"files": files}), 10)
    assert isinstance(read, Files)
    assert match_files(view, read).decode() == json.dumps(
        {
            "snapshot_id": made.snapshot_id,
            "overlay_version": 1,
            "checked": {"md5": 1, "sha1": 0, "sha256": 2},
            "not_loaded": {"sha512": 1},
            "files": {"match": 1, "clear": 1, "invalid": 2},
            "matches": [
                {
                    "index": 0, "ref": "a", "action": "block",
                    "matched": [
                        {
                            "algorithm": "md5", "digest": review.hex(),
                            "labels": [{"list_id": "police", "category": "B", "tier": "investigative"}],
                        },
                        {
                            "algorithm": "sha256", "digest": digest.hex(),
                            "labels": [{"list_id": "police", "category": "A", "tier": "baseline"}],
                        },
                    ],
                }
            ],
            "invalid": [
                {"index": 2, "ref": None, "reason": "not_checked"},
                {"index": 3, "ref": "d", "reason": "not_hex", "algorithm": "sha1"},
            ],
        },
        separators=(",", ":"),
    )  # fmt: skip


def test_classes_that_are_off_are_no_match_and_do_not_show(view: View, made: MadeSnapshot) -> None:
    assert ask(view, {"sha1": [listed(made, "sha1", 4).hex(), listed(made, "sha1", 7).hex()]})["matches"] == []
    mixed = ask(view, {"sha1": [listed(made, "sha1", 6).hex()]})["matches"]
    assert [(m["action"], {label["tier"] for label in m["labels"]}) for m in mixed] == [
        ("block", {"illegal", "investigative"})
    ]


def test_photodna_in_hex_and_base64(view: View, made: MadeSnapshot) -> None:
    digest = listed(made, "photodna")
    text = base64.b64encode(digest).decode()
    reply = ask(view, {"photodna": [text, digest.hex(), text[:-1] + "=", "!" * 192, "!" * 288, text + "A"]})
    assert [(m["index"], m["digest"]) for m in reply["matches"]] == [(0, text), (1, text)]
    assert [(i["index"], i["reason"]) for i in reply["invalid"]] == [
        (2, "not_hex"), (3, "not_hex"), (4, "not_hex"), (5, "wrong_length"),
    ]  # fmt: skip


def test_a_match_weighs_more_than_any_fault_of_its_file(view: View, made: MadeSnapshot) -> None:
    digest = listed(made, "sha256").hex()
    for fault in ({"ref": 7}, {"crc32": "x"}, {"md5": None}, {"sha512": "0" * 128}):
        reply = ask(view, {"files": [{"sha256": digest, **fault}]})
        assert reply["files"] == {"match": 1, "clear": 0, "invalid": 0}, fault
        assert reply["matches"][0]["ref"] is None


def test_many_matches_are_all_there_in_order(view: View, made: MadeSnapshot) -> None:
    on = [d for d, labels in made.entries["sha256"].items() if reference.verdict(labels)]
    sent = random.choices(on, k=5000)
    reply = ask(view, {"sha256": [d.hex() for d in sent]})
    assert [m["digest"] for m in reply["matches"]] == [d.hex() for d in sent]
    assert [m["index"] for m in reply["matches"]] == list(range(5000))


def texts(made: MadeSnapshot, algorithm: str) -> st.SearchStrategy[object]:
    size = ALGORITHMS[algorithm].digest_bytes
    known = list(made.entries.get(algorithm, {})) or [bytes(size)]
    digests = st.sampled_from(known) | st.binary(min_size=size, max_size=size)
    good = st.one_of(digests.map(bytes.hex), digests.map(lambda d: d.hex().upper()))
    if algorithm == "photodna":
        good |= digests.map(lambda d: base64.b64encode(d).decode())
    bad = st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.just([]), st.just({}), st.text(max_size=5),
        st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=2 * size, max_size=2 * size),
        good.map(lambda t: t[:-1]), good.map(lambda t: " " + t[1:]), good.map(lambda t: "0x" + t[2:]),
        good.map(lambda t: t[:-1] + "é"), good.map(lambda t: t[:-1] + '"'),
    )  # fmt: skip
    return st.one_of(good, good, good, bad)


@SHARED_VIEW
@given(data=st.data())
def test_by_column_as_a_plain_dict_would(view: View, made: MadeSnapshot, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(list(ALGORITHMS)), min_size=1, unique=True))
    columns = {name: data.draw(st.lists(texts(made, name), max_size=30)) for name in names}
    reply = ask(view, columns)
    assert reply == reference.columns_reply(made.entries, made.snapshot_id, columns)
    assert list(reply["checked"]) == [name for name in names if name in made.entries]
    ColumnsReply.model_validate(reply)
    sent = sum(map(len, columns.values()))
    assert sum(reply["checked"].values()) + sum(reply["not_loaded"].values()) + len(reply["invalid"]) == sent


@SHARED_VIEW
@given(data=st.data())
def test_packed_as_a_plain_dict_would(view: View, made: MadeSnapshot, data: st.DataObject) -> None:
    algorithm = data.draw(st.sampled_from(list(ALGORITHMS.values())))
    size = algorithm.digest_bytes
    known = list(made.entries.get(algorithm.name, {})) or [bytes(size)]
    digests = data.draw(st.lists(st.sampled_from(known) | st.binary(min_size=size, max_size=size), max_size=60))
    reply = orjson.loads(match_columns(view, read_packed(b"".join(digests), algorithm, 60)))
    assert reply == reference.columns_reply(
        made.entries, made.snapshot_id, {algorithm.name: [d.hex() for d in digests]}
    )


@SHARED_VIEW
@given(data=st.data())
def test_by_file_as_a_plain_dict_would(view: View, made: MadeSnapshot, data: st.DataObject) -> None:
    fields = {name: texts(made, name) for name in ALGORITHMS}
    odd = {
        "ref": st.one_of(  # as many bits as orjson writes
            st.none(), st.text(max_size=3), st.integers(0, 2**64 - 1), st.just("r" * 1024), st.just("r" * 1025)
        ),
        "crc32": st.just("0"),
    }
    file = st.fixed_dictionaries({}, optional={**fields, **odd})
    mostly_good = st.fixed_dictionaries({"ref": st.just("u")}, optional=fields)
    files = data.draw(st.lists(st.one_of(file, mostly_good, mostly_good, st.none(), st.just("x")), max_size=20))
    reply = ask(view, {"files": files})
    assert reply == reference.files_reply(made.entries, made.snapshot_id, files)
    FilesReply.model_validate(reply)
    assert sum(reply["files"].values()) == len(files)
