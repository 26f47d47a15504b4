"""What may stand in a lists.toml: the tables as pydantic checks them, and what is said of a value that is none.

A key that is added to ListTable wants its words in EXPECTED beside it, and a line in docs/lists-file.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from loader.inputs import DEFAULT_LIMITS
from loader.readers import READERS
from loader.readers.csv_header import LABEL_COLUMNS, LOOKS_LIKE_DIGEST
from loader.readers.faults import MAX_LABEL_CHARACTERS
from loader.toml_places import Location
from snapshot.algorithms import ALGORITHMS
from snapshot.labels import Tier

#: What a list may be called, here and by --list-id.
LIST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LIST_ID_RULE: Final = "1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
#: Columns of a CSV that have a name of ours.
COLUMN_NAMES: Final = (*ALGORITHMS, *LABEL_COLUMNS)
_SHOWN_CHARACTERS: Final = 60
_LARGEST_SHOWN_NUMBER: Final = 10**18  # Python refuses to print very long ones


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}"


_TIERS: Final = tuple(tier.value for tier in Tier)
#: Values that are words of ours, by key.
_CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "kind": ("known-bad", "known-good"),
    "format": tuple(READERS),
    "algorithm": tuple(ALGORITHMS),
    "tier": _TIERS,
    "categories.*": _TIERS,
    "deliveries.kind": ("full", "delta"),
}
_PATHS: Final = 'an array of file names or globs, such as ["police/*.csv"]'
#: What a key's value is to be, as in "write …"; a table's own keys are `*`.
EXPECTED: Final[Mapping[str, str]] = {
    **{key: _one_of(names) for key, names in _CHOICES.items()},
    "id": f"a name of {LIST_ID_RULE}",
    "paths": _PATHS,
    "delimiter": 'the one character between columns, such as ";"; not a quotation mark or a line end',
    "category": f"1 to {MAX_LABEL_CHARACTERS:,} printable characters",
    "max_bad_share": "a number from 0 (none may be bad) to 1",
    "max_shrink": "a number from 0 (nothing may vanish) to 1",
    "max_growth": "a number from 0 (nothing may be added) up, such as 0.5",
    "columns": 'a table: [list.columns], then lines NAME = "HEADER"',
    "columns.*": "the name of a column as the file's header has it, in quotation marks",
    "categories": 'a table: [list.categories], then lines "CATEGORY" = "TIER"',
    "deliveries": "tables with double brackets: [[list.deliveries]], then kind and paths",
    "deliveries.paths": _PATHS,
}  # fmt: skip


def _require(good: object) -> None:
    if not good:
        raise ValueError  # EXPECTED says what was expected


def _list_id(value: str) -> str:
    _require(LIST_ID.fullmatch(value))
    return value


def _format(value: str) -> str:
    _require(value in READERS)
    return value


def _algorithm(value: str) -> str:
    _require(value in ALGORITHMS)
    return value


def _column(value: str) -> str:
    _require(value in COLUMN_NAMES)
    return value


def _words(value: str) -> str:
    _require(value.strip() and len(value) <= MAX_LABEL_CHARACTERS)
    return value


def _printable(value: str) -> str:
    _require(value.isprintable())
    return _words(value)


def _delimiter(value: str) -> str:
    _require(len(value) == 1 and value not in '"\r\n\0')
    return value


def _pattern(value: str) -> str:
    _require(value and "\0" not in value)
    return value


_Words = Annotated[str, AfterValidator(_words)]
_Tier = Annotated[Tier, Field(strict=False)]  # strict would take no text for one
_Patterns = Annotated[list[Annotated[str, AfterValidator(_pattern)]], Field(min_length=1)]


class DeliveryTable(BaseModel):
    """One [[list.deliveries]]."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: Literal["full", "delta"]
    paths: _Patterns


class ListTable(BaseModel):
    """One [[list]], as it is written; of what goes together or not, `_Check` knows more."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: Annotated[str, AfterValidator(_list_id)]
    kind: Literal["known-bad", "known-good"] = "known-bad"
    format: Annotated[str, AfterValidator(_format)] | None = None
    paths: _Patterns = Field(default_factory=list)
    algorithm: Annotated[str, AfterValidator(_algorithm)] | None = None
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = None
    tier: _Tier = Tier.UNKNOWN
    category: Annotated[str, AfterValidator(_printable)] = "default"
    max_bad_share: Annotated[float, Field(ge=0, le=1)] | None = None
    max_shrink: Annotated[float, Field(ge=0, le=1)] = DEFAULT_LIMITS.max_shrink
    max_growth: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DEFAULT_LIMITS.max_growth
    columns: dict[Annotated[str, AfterValidator(_column)], _Words] = Field(default_factory=dict)
    categories: dict[_Words, _Tier] = Field(default_factory=dict)
    deliveries: Annotated[list[DeliveryTable], Field(min_length=1)] | None = None


LIST_KEYS: Final = tuple(ListTable.model_fields)
#: Keys that say how listed entries match: a known-good list has none.
NOT_OF_KNOWN_GOOD: Final = ("tier", "category", "categories", "max_shrink", "max_growth")


def name_of(table: Mapping[str, object], index: int) -> str:
    """Give what a list is called in messages."""
    list_id = table.get("id")
    return f"list {shown(list_id)}" if isinstance(list_id, str) and list_id else f"list {index + 1}"


def field_of(location: Location) -> str | None:
    """Give `deliveries.kind`, say; numbers are left out, since the line tells which."""
    return ".".join(shown_key(part) for part in location if isinstance(part, str) and part != "[key]") or None


def why(kind: str, location: Location, value: object) -> str:
    """Say what is wrong with a value and what to write, from the kind and the place of pydantic's error."""
    names = [part for part in location if isinstance(part, str)]
    table = names[0]
    if kind == "missing":
        return f"is missing; write {EXPECTED['.'.join(names)]}"
    if kind == "extra_forbidden":
        known = DeliveryTable.model_fields if len(names) > 1 else ListTable.model_fields
        if len(names) > 1 and names[-1] in ListTable.model_fields:
            return belongs_above(table)
        return f"is no key here; {_nearest(names[-1], tuple(known))}"
    if names[-1] == "[key]":
        if table == "categories":
            return f"is no category; write 1 to {MAX_LABEL_CHARACTERS:,} characters"
        if names[-2] in ListTable.model_fields:
            return belongs_above(table)
        return f"is no name of ours for a column; {_nearest(names[-2], COLUMN_NAMES)}"
    key = f"{table}.*" if len(names) > 1 and table in {"columns", "categories"} else ".".join(names)
    choices = _CHOICES.get(key)
    if choices and isinstance(value, str):
        return f"is {shown(value)}; {_nearest(value, choices)}"
    return f"is {shown(value)}; write {EXPECTED[key]}"


def _nearest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word[:_SHOWN_CHARACTERS], known, n=1)
    return f"did you mean {near[0]}? Known are {', '.join(known)}" if near else f"known are {', '.join(known)}"


def belongs_above(table: str) -> str:
    """Say that a key stands below the header of a table where it does not belong."""
    header = "[[list.deliveries]]" if table == "deliveries" else f"[list.{table}]"
    return f"is a key of the list and stands below {header}; move it above that line"


def unknown_top(key: str) -> str:
    """Say what is wrong with a key that is in no list."""
    if key in ListTable.model_fields:
        return "is a key of a list; move it below its [[list]]"
    if get_close_matches(key, ["list"]):
        return "is no key here; did you mean [[list]]?"
    return "is no key here; the file consists of [[list]] tables"


def shown_key(key: str) -> str:
    """Make a key fit for a message."""
    return key if re.fullmatch("[A-Za-z0-9_-]{1,31}", key) else shown(key)


def shown(value: object) -> str:
    """Make a value fit for a message: short, on one line, and no digest."""
    match value:
        case bool():
            return str(value).lower()
        case str() if LOOKS_LIKE_DIGEST.search(value):
            return f"a text of {len(value)} characters"
        case str():
            short = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"
            return f'"{short if short.isprintable() else ascii(short)[1:-1]}"'
        case list():
            return "an array" if value else "an empty array"
        case dict():
            return "a table"
        case int() if abs(value) > _LARGEST_SHOWN_NUMBER:
            return "a very large number"
        case int() | float():
            return str(value)
        case _:
            return "a date or time"
