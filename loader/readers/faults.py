"""What is wrong with a field, in words that read on from its name: `md5: has 31 characters`. Never the text itself."""

from __future__ import annotations

import re
from typing import Final

from snapshot.algorithms import Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import parse_digest

#: The longest category and reference, in characters.
MAX_LABEL_CHARACTERS: Final = 1024
#: What a category or reference cannot have in it: control characters, and the halves of a character, which stand for
#: bytes that are not UTF-8 where a text was decoded with "surrogateescape".
NOT_IN_LABEL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class BadFieldError(Exception):
    """A line that is not taken: which field, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


def label_fault(text: str) -> str | None:
    """Say why this cannot be a category or a reference; None if it can."""
    if len(text) > MAX_LABEL_CHARACTERS:
        return f"is longer than {MAX_LABEL_CHARACTERS:,} characters"
    foreign = NOT_IN_LABEL.search(text)
    if foreign is None:
        return None
    what = "is not UTF-8" if foreign[0] >= "\ud800" else "has a control character"
    return f"{what} at position {foreign.start() + 1}"


def digest_fault(text: object, algorithm: Algorithm) -> str:
    """Say why this is no digest of the algorithm; it is one that `parse_digests` did not take."""
    try:
        parse_digest(text, algorithm)
    except HexdigestError as error:
        return str(error)
    raise AssertionError("parse_digests and parse_digest differ")
