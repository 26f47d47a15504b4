"""What lookups are compared with: it holds the same entries, and its wrong answers never become figures."""

from contextlib import closing, contextmanager, nullcontext

import psutil
import pytest
import redis

from benchmarks.digests import cut, random_digests
from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.peers.hfind import index_seconds, lookup_ns, require_hfind
from benchmarks.peers.in_memory import pybloom_live, python_set
from benchmarks.peers.key_per_digest import lmdb_peer
from benchmarks.peers.redis_server import KEY, fill, redis_server, used_memory_bytes
from benchmarks.peers.sqlite import sqlite_peer

MEMBERS = cut(random_digests(7, "members", 3_000), 1)
OTHERS = cut(random_digests(7, "others", 3_000), 1)
MAKERS = {
    "set": lambda work: nullcontext(python_set(MEMBERS)),
    "pybloom-live": lambda work: nullcontext(pybloom_live(MEMBERS)),
    "LMDB get": lambda work: lmdb_peer(MEMBERS, work),
    "SQLite": lambda work: sqlite_peer(MEMBERS, work),
}


@pytest.fixture(params=MAKERS)
def peer(request, tmp_path):
    with MAKERS[request.param](tmp_path) as peer:
        assert peer.name == request.param
        yield peer
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch", [1, 10, 1_000, 1_700])
def test_a_peer_holds_the_entries_and_no_others_however_it_is_asked(peer, batch):
    assert peer.ns(MEMBERS, batch, held=len(MEMBERS)) > 0
    assert peer.ns(OTHERS, batch) > 0
    # One that is held among those that are not, and one that is not among those that are.
    mixed = [*OTHERS, *MEMBERS[:60]]
    with pytest.raises(WrongAnswer, match=f"{peer.name} found"):
        peer.ns(mixed, batch, held=0)
    with pytest.raises(WrongAnswer, match=f"{peer.name} found"):
        peer.ns([*OTHERS[:100], *MEMBERS[60:]], batch, held=len(MEMBERS))


def test_batches_and_single_questions_find_the_same_digests(peer):
    asked = [digest for pair in zip(MEMBERS[:500], OTHERS[:500], strict=True) for digest in pair]
    singly = [digest for digest in asked if peer.one(digest)]
    assert peer.many(asked) is not None
    assert len(peer.many(asked)) == len(singly)
    assert set(MEMBERS[:500]) <= set(singly)
    assert len(singly) < 510  # pybloom-live errs now and then


@pytest.mark.needs("redis")
def test_redis_holds_raw_digests_and_ends_with_the_block(tmp_path):
    entries = cut(random_digests(7, "redis", 12_345), 1)
    with redis_server(tmp_path) as other, redis_server(tmp_path) as server:
        assert server.port != other.port
        fill(server, entries)
        with closing(redis.Redis(port=server.port)) as client:
            assert client.smismember(KEY, [OTHERS[0], entries[-1], entries[0], OTHERS[1]]) == [0, 1, 1, 0]
        assert used_memory_bytes(server) > 32 * len(entries)
        with closing(redis.Redis(port=other.port)) as client:
            assert client.dbsize() == 0
        with pytest.raises(WrongAnswer, match="Redis holds 12345 of 12346"):
            fill(server, [*entries, entries[0]])
    assert not psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(other.pid)
    assert not list(tmp_path.iterdir())


@pytest.mark.needs("redis")
def test_redis_ends_when_the_block_raises(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), redis_server(tmp_path) as server:
        raise RuntimeError("stop")
    assert not psutil.pid_exists(server.pid)


@pytest.fixture
def empty_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@contextmanager
def hfind_required(work):
    require_hfind()
    yield


@pytest.mark.usefixtures("empty_path")
@pytest.mark.parametrize(("needed", "package"), [(redis_server, "redis-server"), (hfind_required, "sleuthkit")])
def test_a_peer_that_is_not_installed_is_named_with_its_package(tmp_path, needed, package):
    with pytest.raises(CannotMeasure, match=f"not installed; Debian's package is {package}"), needed(tmp_path):
        pytest.fail("it is there")


def test_a_redis_that_does_not_start_says_why(monkeypatch, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho no memory left; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(CannotMeasure, match="no memory left"), redis_server(tmp_path):
        pytest.fail("it is there")


@pytest.mark.needs("hfind")
def test_hfind_finds_what_is_listed_and_nothing_else(tmp_path):
    listed = tmp_path / "md5sums"
    members, others = (cut(random_digests(7, stream, 300, 16), 1, 16) for stream in ("hfind", "strangers"))
    listed.write_text("".join(f"{digest.hex()}  file {number}\n" for number, digest in enumerate(members)))
    assert index_seconds(listed) > 0
    assert index_seconds(listed) > 0  # anew, over the old one
    assert lookup_ns(listed, members, tmp_path / "asked", held=300) > 0
    assert lookup_ns(listed, others, tmp_path / "asked") > 0
    with pytest.raises(WrongAnswer, match="hfind found 1 digests, 0 are listed"):
        lookup_ns(listed, [*others, members[9]], tmp_path / "asked")
