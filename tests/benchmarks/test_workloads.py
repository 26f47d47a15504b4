"""Requests and the replies they must get: made here, answered by the real service, and noticed when wrong."""

from dataclasses import replace

import orjson
import pytest

from benchmarks.digests import random_digests
from benchmarks.errors import WrongAnswer
from benchmarks.http_side_by_side import JSON_1, JSON_1000, MIXED, PACKED_10000, UNUSUAL, bare, bare_target
from benchmarks.processes import serving_store
from benchmarks.stores import compile_packed, live_manifest
from benchmarks.workloads import Listed, Workload, ask, check_sample, make_load, requests
from snapshot.algorithms import ALGORITHMS

SEED = 4711
#: Every form, small enough to be read.
SMALL = (
    Workload("columns", "json", (("md5", 7), ("sha1", 6), ("sha256", 6)), matches=3, invalid=2),
    Workload("packed", "packed", (("sha256", 9),), matches=9),
    Workload("files", "files", (("md5", 5), ("sha256", 5)), matches=4),
    Workload("spoilt files", "files", (("md5", 5), ("sha256", 5)), matches=1, invalid=3),
)


class AskedOfBare(Workload):
    """The same requests, asked where the bare application answers."""

    __slots__ = ()

    @property
    def target(self):
        return bare_target(self)


@pytest.fixture(scope="module")
def listed_store(tmp_path_factory):
    store = tmp_path_factory.mktemp("workloads") / "store"
    entries = {
        name: random_digests(SEED, f"test-{name}", 1_000, ALGORITHMS[name].digest_bytes)
        for name in ("md5", "sha1", "sha256")
    }
    compile_packed(store, entries)
    return store, Listed(live_manifest(store).snapshot_id, entries)


@pytest.fixture(scope="module")
def service(listed_store, tmp_path_factory):
    with serving_store(listed_store[0], tmp_path_factory.mktemp("serve"), workers=1) as server:
        yield server


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_the_service_answers_every_form_as_it_must(listed_store, service, workload):
    _, listed = listed_store
    assert listed.count == 3_000
    places = [list(workload.places(workload.matches)), []]
    made = list(requests(workload, listed, SEED, "test", places))
    assert len(made[0].reply["matches"]) == workload.matches
    assert not made[1].reply["matches"]
    assert len(made[0].reply["invalid"]) == len(made[1].reply["invalid"]) == workload.invalid
    ask(service, workload, made)
    with pytest.raises(WrongAnswer, match=f"{workload.name}: a request was not answered right"):
        ask(service, workload, [replace(made[0], reply=made[1].reply)])


@pytest.mark.parametrize("workload", [JSON_1, JSON_1000, PACKED_10000, *UNUSUAL, *MIXED], ids=lambda each: each.name)
def test_samples_hold_before_the_real_service_and_fail_before_a_blind_one(listed_store, service, workload, tmp_path):
    """The bare application answers every request as a miss: the sample must catch it, whatever the kind of request."""
    _, listed = listed_store
    check_sample(service, workload, listed, SEED)
    asked = AskedOfBare(workload.name, workload.form, workload.columns, workload.matches, workload.invalid)
    reply = next(requests(workload, listed, SEED, "blind", [[]])).reply
    with (
        bare({asked: orjson.dumps(reply)}, tmp_path) as blind,
        pytest.raises(WrongAnswer, match="was not answered right"),
    ):
        check_sample(blind, asked, listed, SEED)


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_all_bodies_and_replies_of_a_load_have_the_same_bytes(listed_store, service, workload, tmp_path):
    _, listed = listed_store
    load, reply = make_load(service, workload, listed, SEED, tmp_path / "bodies")
    bodies = (tmp_path / "bodies").read_bytes()
    pieces = {bodies[at : at + load.body_bytes] for at in range(0, len(bodies), load.body_bytes)}
    assert len(pieces) == len(bodies) / load.body_bytes > 1_000
    assert load.reply_bytes == load.head_bytes + len(reply)
    assert len(orjson.loads(reply)["matches"]) == workload.matches
