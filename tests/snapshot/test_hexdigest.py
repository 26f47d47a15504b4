"""The strict parser: one by one, in bulk and by rows it says what a regular expression says, for hostile texts too."""

from __future__ import annotations

import base64
import random
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA256, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import (
    algorithm_of,
    parse_digest,
    parse_digests,
    unbase64_rows,
    unhex_rows,
)

algorithms = st.sampled_from(list(ALGORITHMS.values()))

# What lenient parsers take for a digit, a separator or nothing at all.
HOSTILE = ",; \t\n\r\0_-xX+/=gG`@:'\"٣𝟗Ａé\ud800\udfff\u200b\ufeff"


def expected(text: object, algorithm: Algorithm) -> bytes | str:
    """Say what a text is, by rules written down once more: the digest, or the reason why it is none."""
    if not isinstance(text, str | bytes):
        return "not_text"
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if algorithm is PHOTODNA and len(text) == 192:
        return base64.b64decode(text) if re.fullmatch(r"[A-Za-z0-9+/]{192}", text) else "not_hex"
    if len(text) != 2 * algorithm.digest_bytes:
        return "wrong_length"
    return bytes.fromhex(text) if re.fullmatch(r"[0-9a-fA-F]+", text) else "not_hex"


def one_by_one(text: object, algorithm: Algorithm) -> bytes | str:
    try:
        return parse_digest(text, algorithm)
    except HexdigestError as error:
        return error.why


def in_bulk(texts: list[object], algorithm: Algorithm) -> list[bytes | str]:
    parsed = parse_digests(texts, algorithm)
    length = algorithm.digest_bytes
    good = [parsed.packed[i : i + length] for i in range(0, len(parsed.packed), length)]
    assert parsed.count == len(good)
    positions = range(len(texts)) if parsed.positions is None else parsed.positions
    found: dict[int, bytes | str] = dict(zip(positions, good, strict=True))
    assert not found.keys() & dict(parsed.invalid).keys()
    found.update(parsed.invalid)
    assert [index for index, _ in parsed.invalid] == sorted(index for index, _ in parsed.invalid)
    return [found[i] for i in range(len(texts))]


@st.composite
def texts_for(draw: st.DrawFn, algorithm: Algorithm) -> object:
    digest = draw(st.binary(min_size=algorithm.digest_bytes, max_size=algorithm.digest_bytes))
    text = draw(
        st.sampled_from([digest.hex(), digest.hex().upper(), base64.b64encode(digest).decode()])
        | st.just(base64.urlsafe_b64encode(digest).decode())
    )
    match draw(st.integers(0, 9)):
        case 0 | 1 | 2:
            return text
        case 3 | 4:
            at = draw(st.integers(0, len(text) - 1))
            return text[:at] + draw(st.sampled_from(HOSTILE)) + text[at + 1 :]
        case 5:
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.sampled_from([*HOSTILE, "", "0", "0x"])) + text[at + 1 :]
        case 6:
            return draw(
                st.sampled_from(["", "0x" + text[2:], f" {text[1:]}", f"{text[:-1]}\n", text + text, text[:-1]])
            )
        case 7:
            return text.encode()
        case 8:
            raw = bytearray(text.encode())
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
            return bytes(raw)
        case _:
            return draw(
                st.none() | st.booleans() | st.integers() | st.floats() | st.just([]) | st.just({})
                | st.just(bytearray(text.encode())) | st.text(max_size=300)
            )  # fmt: skip


@given(algorithms.flatmap(lambda a: st.tuples(st.just(a), st.lists(texts_for(a), max_size=12))))
def test_one_by_one_is_in_bulk_is_the_rule(case: tuple[Algorithm, list[object]]) -> None:
    algorithm, texts = case
    rule = [expected(text, algorithm) for text in texts]
    assert [one_by_one(text, algorithm) for text in texts] == rule
    assert in_bulk(texts, algorithm) == rule


@st.composite
def cut_elsewhere(draw: st.DrawFn) -> list[str]:
    """n texts whose joint length is that of n hexdigests, whatever the single ones are: the bulk parser's weak spot."""
    count = draw(st.integers(2, 6))
    length = (MD5.hex_length + 1) * count - 1
    right = {(MD5.hex_length + 1) * i - 1 for i in range(1, count)}
    shifts = draw(st.lists(st.sampled_from([0, 0, 0, 1, -1, 2, 33, -33]), min_size=count - 1, max_size=count - 1))
    commas = {min(max(at + shift, 0), length - 1) for at, shift in zip(sorted(right), shifts, strict=True)}
    commas |= draw(st.sets(st.integers(0, length - 1), max_size=3))
    joined = "".join("," if at in commas else draw(st.sampled_from("0f")) for at in range(length))
    # Any n - 1 of the commas may be where one text ends; the others lie inside a text.
    cuts = sorted(draw(st.permutations(sorted(commas)))[: count - 1])
    return [joined[a + 1 : b] for a, b in pairwise([-1, *cuts, length])]


@given(cut_elsewhere())
@example(["0" * 31, "0" * 33])
@example(["0" * 32 + "," + "0" * 32, ""])
@example(["", "0" * 32 + "," + "0" * 31])
@example([",", "0" * 63])
def test_no_cut_of_a_right_looking_text_passes_for_another(texts: list[str]) -> None:
    assert in_bulk(texts, MD5) == [expected(text, MD5) for text in texts]


def test_the_fast_path_is_taken_when_all_are_good(rng: random.Random) -> None:
    digests = [rng.randbytes(32) for _ in range(1000)]
    parsed = parse_digests([d.hex().upper() if rng.random() < 0.5 else d.hex() for d in digests], SHA256)
    assert parsed.packed == b"".join(digests)
    assert (parsed.count, parsed.positions, parsed.invalid) == (1000, None, [])


def test_a_bad_text_spoils_no_other_and_keeps_the_order(rng: random.Random) -> None:
    texts: list[object] = [rng.randbytes(20).hex() for _ in range(8)]
    texts[2], texts[5], texts[7] = 7, "zz" * 20, "ab"
    parsed = parse_digests(texts, SHA1)
    assert parsed.positions == [0, 1, 3, 4, 6]
    assert parsed.packed.hex() == "".join(texts[i] for i in (0, 1, 3, 4, 6))
    assert parsed.invalid == [(2, "not_text"), (5, "not_hex"), (7, "wrong_length")]


def test_nothing_is_nothing() -> None:
    parsed = parse_digests([], MD5)
    assert (parsed.packed, parsed.count, parsed.positions, parsed.invalid) == (b"", 0, None, [])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_subclass_of_str_is_a_text(count: int, rng: random.Random) -> None:
    class Text(str):
        __slots__ = ()

    digests = [rng.randbytes(16) for _ in range(count)]
    assert parse_digests([Text(d.hex()) for d in digests], MD5).packed == b"".join(digests)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8))
def test_unhex_rows_is_the_rule(rows: list[bytes]) -> None:
    check_rows(unhex_rows, rows, MD5)


@given(algorithms, st.data())
def test_unhex_rows_is_the_rule_when_most_rows_are_good(algorithm: Algorithm, data: st.DataObject) -> None:
    rows = data.draw(st.lists(texts_for(algorithm), min_size=1, max_size=8))
    width = algorithm.hex_length
    check_rows(
        unhex_rows, [r.encode() for r in rows if isinstance(r, str) and r.isascii() and len(r) == width], algorithm
    )


@given(st.data())
def test_unbase64_rows_is_the_rule(data: st.DataObject) -> None:
    rows = []
    for _ in range(data.draw(st.integers(1, 4))):
        row = bytearray(base64.b64encode(data.draw(st.binary(min_size=144, max_size=144))))
        if data.draw(st.booleans()):
            # Padding first of all: a lenient decoder stops there, or passes over it.
            at = data.draw(st.sampled_from([0, 1, 2, 3, 95, 188, 189, 190, 191]))
            count = data.draw(st.integers(1, 3))
            row[at : at + count] = data.draw(st.sampled_from([b"=", b"\n", b" ", b"-", b"_", b"\xff"])) * count
        rows.append(bytes(row[:192]))
    check_rows(unbase64_rows, rows, PHOTODNA)


def check_rows(decode, rows: list[bytes], algorithm: Algorithm) -> None:
    if not rows:
        return
    matrix = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    digests, good = decode(matrix)
    assert digests.shape == (len(rows), algorithm.digest_bytes)
    rule = [expected(row, algorithm) for row in rows]
    flags = [True] * len(rows) if good is None else good.tolist()
    assert flags == [isinstance(outcome, bytes) for outcome in rule]
    for outcome, digest in zip(rule, digests, strict=True):
        if isinstance(outcome, bytes):
            assert digest.tobytes() == outcome


@pytest.mark.parametrize("change", ["=", "==", "===", "====", "A=", "=A", "\n", " ", "A\n", "=\n", "-", "_"])
@pytest.mark.parametrize("where", ["beginning", "middle", "end"])
def test_base64_has_no_padding_and_nothing_else_to_pass_over(change: str, where: str, rng: random.Random) -> None:
    """Padding at the end decodes without complaint, to a shorter vector."""
    text = base64.b64encode(rng.randbytes(144)).decode()
    at = {"beginning": 0, "middle": 96, "end": 192 - len(change)}[where]
    changed = text[:at] + change + text[at + len(change) :]
    assert len(changed) == 192
    assert one_by_one(text, PHOTODNA) == base64.b64decode(text)
    assert one_by_one(changed, PHOTODNA) == one_by_one(changed.encode(), PHOTODNA) == "not_hex"
    assert in_bulk([text, changed, text], PHOTODNA) == [expected(t, PHOTODNA) for t in (text, changed, text)]
    for rows in ([changed], [text, changed], [changed, text]):
        check_rows(unbase64_rows, [row.encode() for row in rows], PHOTODNA)


def test_rows_may_be_a_view_with_gaps(rng: random.Random) -> None:
    digests = [rng.randbytes(16) for _ in range(5)]
    lines = np.frombuffer(b"".join(d.hex().encode() + b"  name\n" for d in digests), np.uint8).reshape(5, -1)
    assert unhex_rows(lines[:, :32])[0].tobytes() == b"".join(digests)


def test_an_undeclared_text_is_told_by_its_length() -> None:
    known = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
    for length in range(400):
        if length in known:
            assert algorithm_of("0" * length).name == known[length]
            assert algorithm_of(b"0" * length).name == known[length]
        else:
            with pytest.raises(HexdigestError) as caught:
                algorithm_of("0" * length)
            assert caught.value.why == "wrong_length"


@pytest.mark.parametrize("position", [1, 17, 64])
def test_the_message_names_the_position_and_never_the_text(position: int, rng: random.Random) -> None:
    text = rng.randbytes(32).hex()
    text = text[: position - 1] + "g" + text[position:]
    with pytest.raises(HexdigestError, match=rf"position {position}$") as caught:
        parse_digest(text, SHA256)
    assert text[:8] not in str(caught.value)
    assert text[-8:] not in str(caught.value)


def test_the_message_names_both_lengths_of_photodna() -> None:
    with pytest.raises(HexdigestError, match="has 5 characters, photodna has 288 in hex or 192 in base64"):
        parse_digest("abcde", PHOTODNA)
