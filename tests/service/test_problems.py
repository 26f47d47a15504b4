from __future__ import annotations

from http import HTTPStatus

import orjson

from service.problems import REASONS, Problem, not_ready, title_of


def test_a_problem_as_rfc_9457_has_it() -> None:
    for reason, status in REASONS.items():
        problem = orjson.loads(Problem(reason, "what to do").encode())
        assert problem == {
            "type": "about:blank", "title": title_of(status), "status": status, "reason": reason,
            "detail": "what to do",
        }  # fmt: skip
        assert HTTPStatus(status) in range(400, 501)


def test_not_ready_is_503_and_says_when_to_ask_again() -> None:
    problem = not_ready("starting", "soon")
    assert (problem.status, problem.reason, problem.headers) == (503, "starting", ((b"retry-after", b"1"),))


def test_titles_are_those_of_today() -> None:
    assert title_of(413) == "Content Too Large"
    assert title_of(431) == "Request Header Fields Too Large"
