from __future__ import annotations

import json
import random

import orjson
from hypothesis import given
from hypothesis import strategies as st

from service import inplace
from service.inplace import uniform_column
from snapshot.algorithms import ALGORITHMS
from snapshot.hexdigest import parse_digests
from tests.service.snapshots import random_digest

NAMES = st.sampled_from(list(ALGORITHMS))
SPACE = st.text(alphabet=" \t\r\n", max_size=3)


def by_parser(body: bytes) -> tuple[str, bytes, int] | None:
    """What the JSON parser and the strict hex parser make of a body, if it is one column of good digests."""
    try:
        loaded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(loaded, dict) or len(loaded) != 1:
        return None
    name, texts = loaded.popitem()
    if name not in ALGORITHMS or not isinstance(texts, list):
        return None
    parsed = parse_digests(texts, ALGORITHMS[name])
    return None if parsed.invalid else (name, parsed.packed, parsed.count)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies of one column, uniform ones and such as differ from one by a small edit."""
    name = draw(NAMES)
    size = ALGORITHMS[name].digest_bytes
    count = draw(st.integers(1, 2000 // size + 20))
    seed = random.Random(draw(st.integers(0, 2**32)))
    texts = [seed.randbytes(size).hex() for _ in range(count)]
    comma = f"{draw(SPACE)},{draw(SPACE)}"
    a, b, c, d, e, f = (draw(SPACE) for _ in range(6))
    body = f'{a}{{{b}"{name}":{c}[{d}' + comma.join(f'"{text}"' for text in texts) + f"{e}]{f}}}{a}"
    raw = bytearray(body.encode())
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(raw) - 1))
        edit = draw(st.sampled_from(["set", "drop", "insert"]))
        byte = draw(st.sampled_from(list(b'"\\,:[]{} \x000aAg\xc3\xa9\xff\n')))
        if edit == "set":
            raw[at] = byte
        elif edit == "drop":
            del raw[at]
        else:
            raw.insert(at, byte)
    return bytes(raw)


@given(bodies())
def test_it_finds_what_the_parser_finds_or_leaves_it_alone(body: bytes) -> None:
    found = uniform_column(body)
    if found is not None:
        algorithm, digests = found
        assert digests.positions is None
        assert digests.invalid == []
        assert by_parser(body) == (algorithm.name, digests.packed, digests.count)


@given(name=NAMES, separators=st.sampled_from([(",", ":"), (", ", ": ")]), upper=st.booleans())
def test_usual_encoders_are_decoded_in_place(name: str, separators: tuple[str, str], *, upper: bool) -> None:
    digests = [random_digest(name) for _ in range(40)]
    texts = [d.hex().upper() if upper else d.hex() for d in digests]
    found = uniform_column(json.dumps({name: texts}, separators=separators).encode())
    assert found is not None
    assert (found[0].name, found[1].packed, found[1].count) == (name, b"".join(digests), 40)


def test_two_columns_escapes_and_base64_are_left_to_the_parser() -> None:
    texts = ["0" * 64] * 40
    for request in (
        {"sha256": texts, "md5": []},
        {"md5": [], "sha256": texts},
        {"files": texts},
        {"photodna": ["A" * 192] * 9},
    ):
        assert uniform_column(orjson.dumps(request)) is None
    escaped = orjson.dumps({"sha256": texts}).replace(b"0000", rb"\u0030000", 1)
    assert by_parser(escaped) is not None
    assert uniform_column(escaped) is None


def test_small_bodies_are_not_worth_it() -> None:
    assert uniform_column(b'{"md5":["' + b"0" * 32 + b'"]}') is None
    assert inplace._MIN_BODY_BYTES > 0
