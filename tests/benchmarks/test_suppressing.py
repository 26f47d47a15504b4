"""The part that suppresses digests under load, tiny; and what counts as no match any more."""

import os
import socket
import sys

import numpy as np
import orjson
import pytest

from benchmarks import suppressing
from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.processes import Server
from benchmarks.run import Run
from benchmarks.suppressing import Suppressed, is_match, require_every_worker, suppress, visible_seconds

TEXT = "ab" * 32


@pytest.mark.needs("wrk")
def test_it_is_measured_with_its_median_and_its_slowest(tiny, tmp_path):
    median, slowest = suppressing.measure(Run(tiny, tmp_path))
    at = "batch=1000 entries=3000 workers=2"
    assert (median.name, slowest.name) == (f"suppressed {at}", f"suppressed slowest {at}")
    assert [goal.bound for goal in (*median.goals, *slowest.goals)] == [2, 2]
    assert (median.spread.rounds, slowest.spread.rounds) == (tiny.suppressions, 1)
    assert 0.05 < median.spread.least <= median.spread.most == slowest.spread.median < 20
    overlay = orjson.loads(max((tmp_path / "store" / "overlays").glob("*.json")).read_bytes())
    assert len(overlay["suppressions"]) == tiny.suppressions


def rows_of(*changes, seconds=4.0, rate=100):
    """Give rows of a load whose requests take 1 ms each, on two workers in turns that change at their own times.

    `changes` are (at in the one worker, at in the other).
    """
    due = np.arange(0, seconds, 1 / rate)
    worker = np.arange(len(due)) % 2
    replies = sum((due >= np.where(worker, change[1], change[0])).astype(float) for change in changes)
    return np.column_stack([due, due, due + 0.001, replies])


def test_the_worker_that_is_last_to_change_ends_it():
    """Though whoever asked met the other one alone."""
    rows = rows_of((1.205, 1.405))
    assert visible_seconds(rows, [Suppressed(2, began=1.0, asked=1.21, command_seconds=0.4)]) == [
        pytest.approx(0.391)  # the last request that the slow worker got before 1.405 was due at 1.39
    ]
    assert visible_seconds(rows, [Suppressed(2, began=1.0, asked=1.5, command_seconds=0.4)]) == [pytest.approx(0.5)]


def test_each_suppression_is_held_against_all_older_overlays():
    rows = rows_of((1.2, 1.3), (2.2, 2.6))
    done = [Suppressed(2, 1.0, 1.2, 0.4), Suppressed(3, 2.0, 2.2, 0.4)]
    assert visible_seconds(rows, done) == [pytest.approx(0.291), pytest.approx(0.591)]


@pytest.mark.parametrize("changes", [[(1.2, 9.0)], [(9.0, 9.0)]])
def test_a_worker_that_never_changed_gives_no_figure(changes):
    with pytest.raises(CannotMeasure, match="before every worker"):
        visible_seconds(rows_of(*changes), [Suppressed(2, 1.0, 1.2, 0.4)])


def test_a_load_that_ended_before_gives_no_figure():
    with pytest.raises(CannotMeasure, match="the load ended"):
        visible_seconds(rows_of((1.2, 1.3), seconds=1.4), [Suppressed(2, 1.0, 1.5, 0.4)])


def reply(matched, checked=1):
    """Give what the service answers to one digest, on a connection that it keeps."""
    matches = [{"digest": TEXT}] if matched else []
    body = orjson.dumps({"checked": {"sha256": checked}, "matches": matches})
    return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body]


@pytest.fixture
def asked_of(answering, monkeypatch, tmp_path):
    """Run a suppression whose command is `python -c CODE`, against a service that answers as `matched(number)` says."""
    serve, seen = answering

    def suppressed(matched, code="pass"):
        monkeypatch.setattr(suppressing, "hashwacht", lambda *_: [sys.executable, "-c", code])
        return suppress(Server(0, serve(lambda number: reply(matched(number)))), tmp_path, bytes.fromhex(TEXT), 2)

    return suppressed, seen


def test_twenty_answers_in_a_row_end_the_asking_and_a_match_among_them_begins_it_anew(asked_of):
    suppressed, seen = asked_of
    done = suppressed(lambda number: number <= 3 or number == 15)
    assert len(seen) == 15 + 20
    assert 0 < done.asked - done.began < 10
    assert done.version == 2
    assert done.command_seconds > 0


def test_the_moment_is_that_of_the_first_of_the_last_answers(asked_of, monkeypatch):
    suppressed, _ = asked_of
    clock = iter(range(1_000))
    monkeypatch.setattr(suppressing.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(suppressing, "_MOST_SECONDS", 10_000)
    done = suppressed(lambda number: number <= 3 or number == 15)
    # One reading at the beginning, one for each match after it, one for the first answer of each row.
    assert (done.began, done.asked) == (0, 5)


def test_a_digest_that_is_no_match_before_or_still_one_after_is_a_wrong_answer(asked_of, monkeypatch):
    suppressed, _ = asked_of
    with pytest.raises(WrongAnswer, match="is no match"):
        suppressed(lambda number: False)


def test_a_match_that_stays_is_a_wrong_answer(asked_of, monkeypatch):
    suppressed, _ = asked_of
    monkeypatch.setattr(suppressing, "_MOST_SECONDS", 0.3)
    with pytest.raises(WrongAnswer, match="it is a match still"):
        suppressed(lambda number: True)


def test_a_command_that_fails_is_said_at_once(asked_of):
    suppressed, _ = asked_of
    with pytest.raises(CannotMeasure, match="ended with 3"):
        suppressed(lambda number: True, code="raise SystemExit(3)")


@pytest.mark.parametrize(
    "body", [{"checked": {}, "matches": []}, {"checked": {"sha256": 1}, "matches": [{"digest": "x"}]}]
)
def test_a_reply_that_is_neither_is_a_wrong_answer(answering, body):
    serve, _ = answering
    raw = orjson.dumps(body)
    port = serve(lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw])
    with pytest.raises(WrongAnswer, match="one digest"):
        is_match(Server(0, port), TEXT)


def test_a_worker_without_a_connection_gives_no_figure(answering, monkeypatch):
    serve, _ = answering
    port = serve(lambda _: reply(True))
    monkeypatch.setattr(suppressing, "worker_pids", lambda server, workers: [os.getpid()])
    with pytest.raises(CannotMeasure, match="do not reach every worker"):
        require_every_worker(Server(0, port))
    with socket.create_connection(("127.0.0.1", port)):
        for _ in range(200):
            try:
                require_every_worker(Server(0, port))
                break
            except CannotMeasure:
                pass
        else:
            raise AssertionError
