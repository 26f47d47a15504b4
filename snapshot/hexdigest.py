"""The one strict parser of digest texts, one by one and in bulk; loader and service both use it.

A hexdigest has exactly two characters of [0-9a-fA-F] for each byte. Nothing else is forgiven: no spaces, no
`0x`, no underscores (`int(text, 16)` takes all three and `bytes.fromhex` skips spaces). PhotoDNA may also
come as 192 characters of base64; 288 characters are hex. Length decides which of the two a text is, and
bad text of either is `not_hex`.

`binascii.unhexlify` is strict in just this sense, so it does the work in both forms; the tables below only
tell which of many rows was the bad one.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

import numpy as np
import numpy.typing as npt

from snapshot.algorithms import BY_HEX_LENGTH, Algorithm
from snapshot.errors import HexdigestError, InvalidReason

ByteMatrix = npt.NDArray[np.uint8]

_HEX: Final = b"0123456789abcdefABCDEF"
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# For bytes.translate: 0 for a character that belongs, 1 for any other.
_NOT_HEX: Final = bytes(byte not in _HEX for byte in range(256))
_NOT_BASE64: Final = bytes(byte not in _BASE64 for byte in range(256))

_SEPARATOR: Final = ","


def algorithm_of(text: str | bytes) -> Algorithm:
    """Tell an undeclared hexdigest's algorithm by its length.

    Raises HexdigestError (wrong_length) for a length that is no algorithm's.
    """
    algorithm = BY_HEX_LENGTH.get(len(text))
    if algorithm is None:
        known = ", ".join(f"{length} ({a.name})" for length, a in BY_HEX_LENGTH.items())
        raise HexdigestError("wrong_length", f"has {len(text)} characters; known lengths are {known}")
    return algorithm


def parse_digest(text: object, algorithm: Algorithm) -> bytes:
    """Turn one text (str or ASCII bytes) into the raw digest of `algorithm.digest_bytes` bytes.

    Raises HexdigestError with why = not_text (neither str nor bytes), wrong_length or not_hex; the message
    names lengths and positions, never the text itself.
    """
    if isinstance(text, str):
        raw = text.encode("utf-8", "surrogatepass")  # a non-ASCII character is not_hex, never an exception
        length = len(text)
    elif isinstance(text, bytes):
        raw, length = text, len(text)
    else:
        raise HexdigestError("not_text", f"is {type(text).__name__}, not a text")
    if length == algorithm.base64_length:
        return _parse_base64(raw, algorithm)
    if length != algorithm.hex_length:
        raise HexdigestError("wrong_length", f"has {length} characters, {algorithm.name} has {_lengths(algorithm)}")
    try:
        return binascii.unhexlify(raw) if len(raw) == length else _not_hex(raw)
    except binascii.Error:
        return _not_hex(raw)


def _parse_base64(raw: bytes, algorithm: Algorithm) -> bytes:
    try:
        digest = binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error:
        raise HexdigestError("not_hex", f"is not base64 of {algorithm.digest_bytes} bytes") from None
    if len(digest) != algorithm.digest_bytes:  # padding where none belongs
        raise HexdigestError("not_hex", f"is not base64 of {algorithm.digest_bytes} bytes")
    return digest


def _not_hex(raw: bytes) -> bytes:
    position = next((i for i, byte in enumerate(raw) if _NOT_HEX[byte]), 0)
    raise HexdigestError("not_hex", f"has a character other than 0-9, a-f, A-F at position {position + 1}")


def _lengths(algorithm: Algorithm) -> str:
    base64 = f" in hex or {algorithm.base64_length} in base64" if algorithm.base64_length else ""
    return f"{algorithm.hex_length}{base64}"


def unhex_rows(rows: ByteMatrix) -> tuple[ByteMatrix, npt.NDArray[np.bool_] | None]:
    """Turn rows of hex characters, shape (n, 2·L), into digests, shape (n, L).

    Returns (digests, None) when every row is hex, else (digests, good) with good of shape (n,): the rows of
    `digests` where `good` is False are zero and mean nothing. Cost: about 1 ns a character, one copy.
    """
    count, width = rows.shape
    try:
        packed = binascii.unhexlify(np.ascontiguousarray(rows).data)
        return np.frombuffer(packed, dtype=np.uint8).reshape(count, width // 2), None
    except binascii.Error:
        patched, good = _patched(rows, _NOT_HEX, b"0")
    packed = binascii.unhexlify(patched.data)
    return np.frombuffer(packed, dtype=np.uint8).reshape(count, width // 2), good


def unbase64_rows(rows: ByteMatrix) -> tuple[ByteMatrix, npt.NDArray[np.bool_] | None]:
    """Turn rows of base64 without padding, shape (n, 4·L), into digests, shape (n, 3·L).

    Returns what unhex_rows returns, and costs as much.
    """
    count, width = rows.shape
    # Padding can only be decoded at the very end, where it shortens the result.
    good = None
    try:
        packed = binascii.a2b_base64(np.ascontiguousarray(rows).data, strict_mode=True)
    except binascii.Error:
        packed = b""
    if len(packed) != count * width // 4 * 3:
        patched, good = _patched(rows, _NOT_BASE64, b"A")
        packed = binascii.a2b_base64(patched.data, strict_mode=True)
    return np.frombuffer(packed, dtype=np.uint8).reshape(count, width // 4 * 3), good


def _patched(rows: ByteMatrix, foreign: bytes, zero: bytes) -> tuple[ByteMatrix, npt.NDArray[np.bool_]]:
    """Overwrite the rows that hold a foreign character with a text of zero; say which rows are good."""
    flags = np.frombuffer(rows.tobytes().translate(foreign), dtype=np.bool_)
    good = np.ones(len(rows), dtype=np.bool_)
    good[np.flatnonzero(flags) // rows.shape[1]] = False
    patched = np.array(rows, order="C")
    patched[~good] = ord(zero)
    return patched, good


# Not frozen: that would treble what it costs to make one, and every request makes one.
@dataclass(slots=True)
class ParsedDigests:
    """The outcome of parsing n texts of one algorithm, order kept. To be read only.

    `packed` holds the good ones as raw digests one after the other. `positions` is None when all were good,
    else the index that each good one had among the n. `invalid` lists (index, reason) of the others.
    """

    packed: bytes
    count: int
    positions: list[int] | None
    invalid: list[tuple[int, InvalidReason]]

    def index_of(self, place: int) -> int:
        """Give the index among the n of the digest at `place` among the good ones."""
        return place if self.positions is None else self.positions[place]


def parse_digests(texts: Sequence[object], algorithm: Algorithm) -> ParsedDigests:
    """Parse many texts of one algorithm; a bad one spoils no other.

    Cost: about 40 ns a digest when all are good, 160 ns when some are not, 600 ns when base64 is among them.
    """
    packed = _parse_uniform(texts, algorithm)
    if packed is not None:
        return ParsedDigests(packed, len(texts), None, [])
    return _parse_hex_only(texts, algorithm) or _parse_each(texts, algorithm)


def _parse_each(texts: Sequence[object], algorithm: Algorithm) -> ParsedDigests:
    good: list[bytes] = []
    positions: list[int] = []
    invalid: list[tuple[int, InvalidReason]] = []
    for index, text in enumerate(texts):
        try:
            good.append(parse_digest(text, algorithm))
        except HexdigestError as error:
            invalid.append((index, error.why))
        else:
            positions.append(index)
    return ParsedDigests(b"".join(good), len(good), positions if invalid else None, invalid)


def _parse_hex_only(texts: Sequence[object], algorithm: Algorithm) -> ParsedDigests | None:
    """Parse all texts of the right length for hex together, the rest one by one; None if one of the rest is good too.

    Makes a bad text among 1,000 cost a third of what it costs to parse each by itself.
    """
    width = algorithm.hex_length
    # ASCII, so that a character is a byte in what is joined.
    fits = bytes([type(text) is str and len(text) == width and text.isascii() for text in texts])
    joined = "".join(compress(texts, fits)).encode("ascii")  # type: ignore[arg-type]  # only str fits
    digests, decoded = unhex_rows(np.frombuffer(joined, dtype=np.uint8).reshape(-1, width))
    good = np.frombuffer(bytearray(fits), dtype=np.bool_)
    if decoded is not None:
        good[good] = decoded
        digests = digests[decoded]
    invalid: list[tuple[int, InvalidReason]] = []
    for index in np.flatnonzero(~good).tolist():
        try:
            parse_digest(texts[index], algorithm)
        except HexdigestError as error:
            invalid.append((index, error.why))
        else:
            return None  # base64
    return ParsedDigests(digests.tobytes(), len(digests), np.flatnonzero(good).tolist(), invalid)


def _parse_uniform(texts: Sequence[object], algorithm: Algorithm) -> bytes | None:
    """Parse texts that are all hexdigests of the right length in one go; None when any is not.

    Joined by a separator that is no hex character, the texts can only have hex at all places but every
    (length + 1)th if each of them is exactly one hexdigest: n texts bring n - 1 separators, and where hex is
    required there is no place for one, so all of them stand at those n - 1 places.
    """
    width, count = algorithm.hex_length + 1, len(texts)
    if count == 0:
        return b""
    if count == 1:  # as common as it is small: no arrays for one digest
        text = texts[0]
        if type(text) is not str or len(text) != width - 1 or not text.isascii():
            return None
        try:
            return binascii.unhexlify(text)
        except ValueError:
            return None
    try:
        joined = _SEPARATOR.join(texts).encode("ascii")  # type: ignore[arg-type]  # others raise TypeError
    except (TypeError, UnicodeEncodeError):
        return None
    if len(joined) != width * count - 1:
        return None
    rows = np.frombuffer(joined + b",", dtype=np.uint8).reshape(count, width)
    try:
        return binascii.unhexlify(np.ascontiguousarray(rows[:, :-1]).data)
    except binascii.Error:
        return None
