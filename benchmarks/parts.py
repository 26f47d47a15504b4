"""The parts of each suite, in the order in which they are measured. A part is a function from a Run to figures."""

from __future__ import annotations

from typing import Final

from benchmarks import (
    beside_hfind,
    client_beside_redis,
    compile_100m,
    compile_beside_sort,
    http_beside_naive,
    http_side_by_side,
    in_process,
    list_readers,
    memory,
    opening,
    stages,
    suppressing,
    tail,
)
from benchmarks.sizes import FULL, QUICK
from benchmarks.suite import Suite

_PARTS: Final = {
    "in-process": in_process.measure,
    "http": http_side_by_side.measure,
    "stages": stages.measure,
    "naive": http_beside_naive.measure,
    "client": client_beside_redis.measure,
    "tail": tail.measure,
    "suppressing": suppressing.measure,
    "opening": opening.measure,
    "memory": memory.measure,
    "readers": list_readers.measure,
    "compile": compile_beside_sort.measure,
    "hfind": beside_hfind.measure,
}

SUITES: Final = {
    suite.name: suite
    for suite in (
        Suite("quick", QUICK, _PARTS),
        Suite("full", FULL, _PARTS),
        Suite("100m", FULL, {"compile-100m": compile_100m.measure}),
    )
}
