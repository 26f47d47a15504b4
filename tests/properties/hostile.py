"""Digests, texts and bodies made to be mistaken for others: a path that cuts a corner would answer them wrongly."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator, Sequence

#: Batches around what the code treats differently: one digest, a loop for few, arrays for 13 or 18 and more, slices of
#: the filter by the number of digests in doubt; and what is usual and most.
BATCHES = (
    1, 2, 3, 9, 12, 13, 14, 17, 18, 19, 20, 33, 64, 127, 128, 129, 255, 256, 257, 1000, 1499, 1500, 1501, 4096, 10_000,
)  # fmt: skip

#: Characters that are no hex digit: neighbours of those that are, what lenient parsers take, JSON's own, and letters
#: and digits of other scripts, some of which `int(…, 16)` or `str.isdigit` let through.
FOREIGN = "/:@`gGxX _-+.=,;\"\\'[]{}\0\t\n\x7f\x80é²٣०ａＡ０\u200b\ufeff\u2028😀"

SPACES = ("", "", " ", "\n", "\t", "\r\n", "    ")
SEPARATORS = (",", ",", ", ", " , ", ",\n  ", "\t,\r\n")

#: What is no space and no separator in JSON, however alike all of a body's are spelt.
WRONG_SPACES = ("\v", "\f", "\0", "\xa0", "\u2003", "\ufeff", "/**/", "x", ",", "[", '"')
WRONG_SEPARATORS = (
    "", " ", "x", ";", ":", ",,", ", ,", ",\v", ",\f ", ",\xa0", ",\0", ',"', '",', '","', ',"",', ',"0",', ",null,",
    ",[],", "],[", "][", "},{", "\\,", ",/**/",
)  # fmt: skip


def ends(size: int) -> list[bytes]:
    """Give the smallest and the largest digests that there can be."""
    return [bytes(size), bytes(size - 1) + b"\1", b"\xff" * (size - 1) + b"\xfe", b"\xff" * size]


def clusters(rng: random.Random, size: int, count: int) -> Iterator[bytes]:
    """Yield digests that lie close to one another, and in whose blocks some appear before their own place, askew.

    Where a record (digest, then the label's small number) begins with p p … p r, the bytes from its second on are
    p … p r and the number, and that is listed too.
    """
    for _ in range(count):
        repeated = rng.randrange(1, 200)
        for _ in range(4):
            tail = bytes([rng.randrange(repeated + 1, 256)]) + rng.randbytes(3)
            digest = bytes([repeated]) * (size - 4) + tail
            yield digest
            yield from (digest[1:] + bytes([number]) for number in range(16))


def near_misses(rng: random.Random, digest: bytes) -> Iterator[bytes]:
    """Yield what a listed digest is easily taken for; few of them are listed themselves."""
    size, number = len(digest), int.from_bytes(digest, "big")
    yield (number ^ 1 << rng.randrange(8 * size)).to_bytes(size, "big")
    for kept in {8, 16, size - 1} - {size}:
        yield digest[:kept] + rng.randbytes(size - kept)
        yield rng.randbytes(size - kept) + digest[-kept:]
    yield digest[:-1] + bytes([digest[-1] ^ 1 << rng.randrange(8)])
    yield bytes([digest[0] ^ 1 << rng.randrange(8)]) + digest[1:]
    yield digest[1:] + digest[:1]
    yield digest[-1:] + digest[:-1]
    yield digest[::-1]
    yield digest[1::2] + digest[::2]
    for step in (-1, 1, -256, 256):
        yield ((number + step) % (1 << 8 * size)).to_bytes(size, "big")


def askew(rng: random.Random, records: Sequence[bytes], size: int, count: int) -> Iterator[bytes]:
    """Yield what straddles two neighbouring records of a block, at every offset but the right one."""
    for _ in range(count):
        at = rng.randrange(len(records) - 1)
        both = records[at] + records[at + 1]
        for offset in range(1, len(records[at])):
            yield (both + both)[offset : offset + size]


def cased(rng: random.Random, text: str) -> str:
    """Give hex in lower, upper or mixed case."""
    match rng.randrange(4):
        case 0:
            return text.upper()
        case 1:
            return "".join(rng.choice([c, c.upper()]) for c in text)
        case _:
            return text


def as_encoders_write(text: str) -> bytes:
    """Give a text as JSON."""
    return json.dumps(text, ensure_ascii=False).encode()


def quoted(rng: random.Random, text: str) -> bytes:
    """Give a text as JSON: as encoders write it, or with characters escaped that need not be."""
    if rng.random() < 0.9:
        return as_encoders_write(text)
    hexadecimal = rng.choice("xX")
    return b'"%s"' % b"".join(
        b"\\u%s" % f"{ord(c):04{hexadecimal}}".encode()
        if rng.random() < 0.1 and c < "\U00010000"
        else as_encoders_write(c)[1:-1]
        for c in text
    )


def misspelt(rng: random.Random, text: str) -> str:
    """Give what a good hexdigest (or base64) becomes when it is sent slightly wrong; now and then it stays right."""
    at = rng.randrange(len(text))
    foreign = rng.choice(FOREIGN)
    return rng.choice(
        [
            text[:at] + foreign + text[at + 1 :], text[:at] + foreign + text[at:], text[:at] + text[at + 1 :],
            text[:-1], text[1:], text + "0", text + text[-2:], text[:-2], text + text, text[: len(text) // 2],
            "0x" + text, "0x" + text[2:], " " + text, " " + text[1:], text + " ", text[:-1] + " ", text[:-1] + "\n",
            "  " + text[2:], text[:-2] + "\n ", text[: at & ~1] + "\t " + text[(at & ~1) + 2 :],
            text[:-2] + "==", text[:-1] + "=", text[:at] + "%" + text[at + 1 :], "", "-" + text[1:],
            "".join(chr(ord(c) + 0xFEE0) if rng.random() < 0.1 else c for c in text),
            text[:at] + "," + text[at + 1 :], text[:at] + '","' + text[at:], text[:at] + '","' + text[at + 3 :],
        ]
    )  # fmt: skip


def shifted(rng: random.Random, texts: Sequence[str]) -> list[str]:
    """Move characters between neighbours, or their border, so that all together are as long as before."""
    texts = list(texts)
    if len(texts) < 2:
        return texts
    at = rng.randrange(len(texts) - 1)
    one, two = texts[at : at + 2]
    by = rng.choice([1, 1, 2, len(one) // 2, len(one)])
    match rng.randrange(4):
        case 0:
            texts[at : at + 2] = one[:-by], one[-by:] + two
        case 1:
            texts[at : at + 2] = one + two[:by], two[by:]
        case 2:  # both in one text, with the comma that stood between them; the next is what then still fits
            texts[at : at + 2] = f"{one},{two}", ""
        case _:
            texts[at : at + 2] = f"{one},{two}"[: 2 * len(one)], ""
    return texts


def no_texts(size: int) -> list[bytes]:
    """Give what stands in a column without being a text, or without being a digest of `size` bytes."""
    as_long = (b"[%s]" % b",".join([b'"0"'] * width) for width in (size, 2 * size))
    small = (b"null", b"true", b"0", b"-1.5e3", b"[]", b"{}", b'["00"]', b'{"md5":"00"}', b'""', b'"0"')
    return [*small, *as_long]


def digest_text(rng: random.Random, digest: bytes, name: str) -> str:
    """Give a digest as clients send it."""
    if name == "photodna" and rng.random() < 0.3:
        return base64.b64encode(digest).decode()
    return cased(rng, digest.hex())


def edited(rng: random.Random, body: bytes, share: float) -> Iterator[tuple[str, bytes]]:
    """Yield (what was done, body) for a share of the small edits at every byte, and for bodies that have grown."""
    bytes_to_set = b'"\\,:[]{} \t\n\0/gG\xc3\xa9\xff\x0b0aA'
    for at in range(len(body) + 1):
        byte, other = (bytes([b]) for b in rng.sample(bytes_to_set, 2))
        width = rng.randrange(2, 80)
        edits = [
            (f"{byte!r} inserted at {at}", body[:at] + byte + body[at:]),
            (f"byte {at} is {byte!r}", body[:at] + byte + body[at + 1 :]),
            (f"byte {at} is {other!r}", body[:at] + other + body[at + 1 :]),
            (f"byte {at} dropped", body[:at] + body[at + 1 :]),
            (f"cut at {at}", body[:at]),
            (f"bytes {at}, {at + 1} swapped", body[:at] + body[at : at + 2][::-1] + body[at + 2 :]),
            (f"{width} bytes at {at} twice", body[: at + width] + body[at:]),
            (f"{width} bytes at {at} dropped", body[:at] + body[at + width :]),
        ]
        yield from (edit for edit in edits if rng.random() < share)
    for more in (b"\0", b" ", b"}", b"]}", b",", b'"', body, b"\xef\xbb\xbf"):
        yield f"{more[:8]!r}… appended", body + more
        yield f"{more[:8]!r}… in front", more + body
