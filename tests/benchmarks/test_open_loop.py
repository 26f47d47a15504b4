"""The open loop keeps to its times, charges stalls to all that fell into them, and checks every reply."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.open_loop import ANSWERED, DUE, REPLY, SENT, Job, open_loop
from tests.benchmarks.answers import REPLY as RIGHT
from tests.benchmarks.answers import answer, unused_port

OTHER = b'{"matches":{}}'


@pytest.fixture
def job(tmp_path):
    bodies = tmp_path / "bodies"
    bodies.write_bytes(b"aaaabbbbcccc")
    return Job(
        port=0, target="/x", content_type="text/plain", bodies=str(bodies), body_bytes=4,
        replies=(RIGHT.decode(), OTHER.decode()), connections=3, requests_per_second=200, seconds=1.0, seed=7,
    )  # fmt: skip


def rows_of(job):
    with open_loop(job) as loading:
        return loading.finish()


def test_every_request_is_answered_and_goes_out_when_it_is_due(answering, job):
    serve, seen = answering
    whole = answer()

    def reply(number):
        at = number % len(whole)
        return [whole[:at], whole[at:]] if at else [whole]

    rows = rows_of(replace(job, port=serve(reply)))
    assert len(rows) == len(seen) == 200
    assert {body for _, body in seen} == {b"aaaa", b"bbbb", b"cccc"}
    assert seen[0][0].startswith(b"POST /x HTTP/1.1\r\n")
    assert (rows[:, DUE] <= rows[:, SENT]).all()
    assert (rows[:, SENT] < rows[:, ANSWERED]).all()
    assert not rows[:, REPLY].any()
    gaps = np.diff(rows[:, DUE])
    assert 1 / 250 < gaps.mean() < 1 / 160
    assert 0.7 < gaps.std() / gaps.mean() < 1.3  # of a Poisson process both are the same
    assert np.median(rows[:, SENT] - rows[:, DUE]) < 0.01


def test_a_stall_is_charged_to_every_request_that_was_due_in_it(answering, job):
    """A load that waits for replies would see three slow ones, one a connection."""
    serve, _ = answering
    stalled = threading.Lock()

    def reply(number):
        with stalled:
            if number == 60:
                time.sleep(0.4)
        return [answer()]

    rows = rows_of(replace(job, port=serve(reply)))
    late = rows[:, ANSWERED] - rows[:, DUE]
    assert late.max() > 0.35
    assert (late > 0.1).sum() > 30  # 60 were due in those three tenths of a second


def test_it_tells_which_of_the_right_replies_came(answering, job):
    serve, _ = answering
    rows = rows_of(replace(job, port=serve(lambda number: [answer(OTHER if number > 50 else RIGHT)])))
    assert (rows[:, REPLY] == 1).sum() == 150


def test_a_load_that_is_stopped_gives_what_was_answered(answering, job):
    serve, seen = answering
    with open_loop(replace(job, port=serve(lambda _: [answer()]), seconds=60.0)) as loading:
        deadline = time.monotonic() + 30
        while len(seen) < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        rows = loading.stop()
    assert 20 <= len(rows) == len(seen) < 6_000
    assert (rows[:, ANSWERED] > rows[:, DUE]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        answer(status=b"503 Service Unavailable"),
        answer(b'{"title":"not ready", "detail": "longer than what was expected"}', b"503 Service Unavailable"),
        answer(b'{"matches":()}'),
        answer(b'{"matches":[{"index":0}]}'),
    ],
)
def test_one_wrong_reply_among_many_stops_the_load(answering, job, wrong):
    serve, _ = answering
    with (
        open_loop(replace(job, port=serve(lambda number: [answer() if number != 40 else wrong]))) as loading,
        pytest.raises(WrongAnswer, match="load on /x: a reply"),
    ):
        loading.finish()


def test_a_server_that_falls_silent_or_is_not_there_gives_no_figure(answering, job):
    serve, _ = answering
    port = serve(lambda number: [answer()] if number < 40 else [])
    with open_loop(replace(job, port=port)) as loading, pytest.raises(WrongAnswer, match="answered nothing"):
        loading.finish()
    with open_loop(replace(job, port=unused_port())) as loading, pytest.raises(CannotMeasure, match="refused"):
        loading.finish()
