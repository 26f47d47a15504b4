"""The lists.toml of an operator: all hash lists of a compile, described once.

    lists.toml ──► tomllib ──► pydantic, one ListTable for each [[list]] ──► globs ──► ListInput (loader/build.py)
         └──────► _scan: the line of every key ──► faults that name their line

Every key is in docs/lists-file.md. The whole file is checked before any list is read, and all its faults are named
together: who edits it by hand does not have to find them one compile at a time. What is in doubt is refused rather than
guessed, since a setting that is silently not in force is a list that silently does not match.

tomllib tells no positions of what it parsed, so a scan of the same text finds them. It runs only over text that tomllib
took, knows strings, comments, brackets and nothing else, and decides nothing but which line a fault names.

It is longer than others since what may be written, whether it is, and where it stands are one matter: a key that is
added to ListTable wants its words in EXPECTED beside it.
"""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeGuard

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from loader.errors import LoaderError
from loader.inputs import DEFAULT_LIMITS, Limits, ListInput
from loader.readers import READERS
from loader.readers.base import ReadOptions
from loader.readers.csv_columns import MAX_LABEL_CHARACTERS
from loader.readers.csv_header import LABEL_COLUMNS, LOOKS_LIKE_DIGEST
from snapshot.algorithms import ALGORITHMS
from snapshot.labels import Tier

#: What a list may be called, here and by --list-id.
LIST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LIST_ID_RULE: Final = "1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
#: Columns of a CSV that have a name of ours.
COLUMN_NAMES: Final = (*ALGORITHMS, *LABEL_COLUMNS)
#: The largest lists.toml; the largest that anybody writes has some kilobytes.
MAX_FILE_BYTES: Final = 1 << 20
#: Faults that are named; the others are only counted.
NAMED_FAULTS: Final = 20
_SHOWN_CHARACTERS: Final = 60
_LARGEST_SHOWN_NUMBER: Final = 10**18  # Python refuses to print very long ones

# tomllib takes the square of a key's parts: a minute for 50,000 of them. No key of ours has more than three.
_LONG_KEY: Final = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""",
)

#: Where something stands: keys, and indexes of arrays.
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ListsFile:
    """A lists.toml without a fault: the lists in its order, and the limits of each by its id."""

    path: Path
    lists: tuple[ListInput, ...]
    limits: Mapping[str, Limits]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `list_name` is what the list is called in messages, None for what is in no list."""

    line: int
    list_name: str | None
    field: str | None
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.list_name, self.field, self.text) if part)


class ListsFileInvalid(LoaderError):
    """The lists.toml has faults. `faults` are all of them, by line; the message names the first 20."""

    reason = "lists_file_invalid"

    def __init__(self, path: Path, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        lines = [f"{path}:{fault.line}: {fault}" for fault in self.faults[:NAMED_FAULTS]]
        if len(self.faults) > NAMED_FAULTS:
            lines.append(f"… and {len(self.faults) - NAMED_FAULTS:,} more faults")
        if len(lines) > 1:
            lines.insert(0, f"{len(self.faults):,} faults; no list was read")
        super().__init__("\n  ".join(lines))


def read_lists_file(path: Path) -> ListsFile:
    """Read a lists.toml and find the files that its globs name. No list file is opened.

    Raises ListsFileInvalid, with all faults. Cost: milliseconds, and a walk through the directories of the globs.
    """
    text = _read_text(path)
    if (found := _LONG_KEY.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise ListsFileInvalid(path, [Fault(line, None, None, "has a key of many parts with dots; correct it")])
    try:
        tables = tomllib.loads(text)
        places = _scan(text)
    except RecursionError:
        raise ListsFileInvalid(path, [Fault(1, None, None, "is nested too deep; see docs/lists-file.md")]) from None
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of too many digits
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else text.count("\n", 0, len(text.rstrip())) + 1
        raise ListsFileInvalid(path, [Fault(line, None, None, f"is no valid TOML: {error}; correct it")]) from None
    check = _Check(path.parent, places)
    lists = check.file(tables)
    if check.faults:
        raise ListsFileInvalid(path, check.faults)
    limits = {table.id: Limits(table.max_shrink, table.max_growth) for table, _ in lists}
    return ListsFile(path, tuple(_list_input(table, files) for table, files in lists), limits)


def mapped_categories(item: ListInput) -> frozenset[str]:
    """Give the categories that the operator gave a tier; entries of any other are unknown, and match nothing.

    `category` itself is one of them unless its tier is unknown. None of a known-good list is.
    """
    if item.known_good:
        return frozenset()
    own = () if item.tier is Tier.UNKNOWN else (item.category,)
    return frozenset([*(item.tiers or ()), *own])


def _read_text(path: Path) -> str:
    """Give the content, without a byte order mark."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ListsFileInvalid(path, [Fault(1, None, None, f"cannot be read: {reason}; check the path")]) from error
    if len(content) > MAX_FILE_BYTES:
        text = f"is larger than {MAX_FILE_BYTES:,} bytes; it describes the lists and does not hold them: check the path"
        raise ListsFileInvalid(path, [Fault(1, None, None, text)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ListsFileInvalid(path, [Fault(line, None, None, "is not UTF-8; save it as UTF-8")]) from None


# ---- what may stand in the file -------------------------------------------------------------------------------------


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


_LIST_KEYS: Final = tuple(ListTable.model_fields)
#: Keys that say how listed entries match: a known-good list has none.
_NOT_OF_KNOWN_GOOD: Final = ("tier", "category", "categories", "max_shrink", "max_growth")


def _list_input(table: ListTable, files: list[tuple[int, str]]) -> ListInput:
    algorithm = None if table.algorithm is None else ALGORITHMS[table.algorithm]
    return ListInput(
        list_id=table.id,
        # _Check refused a `tier` that says something else
        tier=table.categories.get(table.category, table.tier),
        files=tuple(file for _, file in files),
        category=table.category,
        format=table.format,
        options=ReadOptions(algorithm, table.columns, table.delimiter),
        tiers=table.categories,
        deliveries=None if table.deliveries is None else tuple(number for number, _ in files),
        known_good=table.kind == "known-good",
        max_bad_share=table.max_bad_share,
    )


# ---- whether it does ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Check:
    """Collects the faults of one file. `base` is the directory that its globs start from."""

    base: Path
    places: Mapping[Location, _Place]
    faults: list[Fault] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def file(self, tables: dict[str, Any]) -> list[tuple[ListTable, list[tuple[int, str]]]]:
        """Check all; give each list with its files, each with the number of its delivery."""
        for key in tables:
            if key != "list":
                self._fault((key,), f"{_shown_key(key)}: {_unknown_top(key)}")
        lists = tables.get("list")
        if lists is None:
            self._fault((), "there is no list; describe each in a table of its own: [[list]]")
            return []
        if not _is_list_of_tables(lists) or not lists:
            self._fault(("list",), "list: write every list as a table with double brackets: [[list]]")
            return []
        self.names = [_name_of(table, index) for index, table in enumerate(lists)]
        first: dict[object, int] = {}
        for index, table in enumerate(lists):
            list_id = table.get("id")
            if isinstance(list_id, str) and first.setdefault(list_id, index) != index:
                line = self._line(("list", first[list_id], "id"))
                self._fault(("list", index, "id"), f"is the id of the list at line {line} too; choose another")
        if all(table.get("kind") == "known-good" for table in lists):
            text = "there are only known-good lists, so nothing could ever match; add a list of what is to be found"
            self._fault(("list", 0), text)
        return [found for index, table in enumerate(lists) if (found := self._list(index, table))]

    def _list(self, index: int, table: dict[str, Any]) -> tuple[ListTable, list[tuple[int, str]]] | None:
        where: Location = ("list", index)
        valid = None
        try:
            valid = ListTable.model_validate(table)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            bad_keys = {one["loc"][:-1] for one in errors if one["loc"][-1] == "[key]"}
            for one in errors:
                if one["loc"] in bad_keys:
                    continue  # of a key that may not be there its value is no second fault
                self._fault((*where, *one["loc"]), _why(one["type"], one["loc"], one["input"]))
        self._combinations(where, table)
        files = self._files(where, table)
        return None if valid is None else (valid, files)

    def _combinations(self, where: Location, table: dict[str, Any]) -> None:
        """Check keys that are good by themselves and not together."""
        if table.get("kind") == "known-good":
            for key in _NOT_OF_KNOWN_GOOD:
                if key in table:
                    self._fault((*where, key), "means nothing for a known-good list, which never matches; remove it")
        if ("paths" in table) == ("deliveries" in table):
            both = "paths" in table
            text = "is there beside paths; write one of the two" if both else "is missing; write paths or deliveries"
            self._fault((*where, "deliveries" if both else "paths"), text)
        categories, category = table.get("categories"), table.get("category", "default")
        if not isinstance(categories, dict):
            return
        for key in categories:
            place = self.places.get((*where, "categories", key))
            if key in _LIST_KEYS and place is not None and place.is_bare:
                text = f"{_belongs_above('categories')}; or in quotation marks, if a category is called so"
                self._fault((*where, "categories", key), text)
        if isinstance(category, str) and "tier" in table and categories.get(category, table["tier"]) != table["tier"]:
            line = self._line((*where, "categories", category))
            text = f"is the tier of {_shown(category)} too, which line {line} gives another; make them the same"
            self._fault((*where, "tier"), text)

    def _files(self, where: Location, table: dict[str, Any]) -> list[tuple[int, str]]:
        """Find the files of a list, each with the number of its delivery; of deliveries only those that count."""
        seen: dict[str, int] = {}
        found = [(0, file) for file in self._matching((*where, "paths"), table.get("paths"), seen)]
        deliveries = table.get("deliveries")
        if not _is_list_of_tables(deliveries) or not deliveries:
            return found
        kinds = [delivery.get("kind") for delivery in deliveries]
        if all(kind == "delta" for kind in kinds):
            self._fault((*where, "deliveries"), "are deltas only; a full delivery comes before them")
        last_full = max((number for number, kind in enumerate(kinds) if kind == "full"), default=0)
        for number, delivery in enumerate(deliveries):
            location = (*where, "deliveries", number, "paths")
            files = self._matching(location, delivery.get("paths"), seen)
            if number >= last_full:
                found += [(number - last_full, file) for file in files]
        return found

    def _matching(self, where: Location, patterns: object, seen: dict[str, int]) -> list[str]:
        """Give the files that globs match, those of each sorted. `seen` are the list's files and their lines so far."""
        found: list[str] = []
        if not isinstance(patterns, list):
            return found
        for index, pattern in enumerate(patterns):
            if not isinstance(pattern, str) or not pattern or "\0" in pattern:
                continue  # the model has said so
            location = (*where, index)
            matches = [_file_name(self.base, match) for match in _glob(pattern, self.base)]
            if not matches:
                text = f"{_shown(pattern)} matches nothing in {self.base}; correct it, or remove it"
                self._fault(location, text)
            directory = next(filter(os.path.isdir, matches), None)
            if directory is not None:
                text = (
                    f"{_shown(pattern)} matches the directory {_shown(directory)}; name the files in it, such as *.csv"
                )
                self._fault(location, text)
                continue
            for file in matches:
                real = os.path.realpath(file)
                if real in seen:
                    text = (
                        f"{_shown(pattern)} matches {_shown(file)}, which line {seen[real]} has already; name it once"
                    )
                    self._fault(location, text)
                    break
                seen[real] = self._line(location)
            found += matches
        return found

    def _fault(self, location: Location, text: str) -> None:
        line = self._line(location)
        if len(location) > 1 and isinstance(location[1], int):
            self.faults.append(Fault(line, self.names[location[1]], _field(location[2:]), text))
        else:
            self.faults.append(Fault(line, None, None, text))

    def _line(self, location: Location) -> int:
        """Give the line of a key or, where there is none, of the table around it."""
        while location:
            if location in self.places:
                return self.places[location].line
            location = location[:-1]
        return 1


def _is_list_of_tables(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _glob(pattern: str, base: Path) -> list[str]:
    # Path.glob takes no absolute pattern, and hidden files
    return sorted(set(glob.glob(pattern, root_dir=base, recursive=True)))  # noqa: PTH207


def _file_name(base: Path, match: str) -> str:
    name = str(base / match)
    return name if name != "-" else "./-"  # a file of that name, not standard input


def _name_of(table: dict[str, Any], index: int) -> str:
    list_id = table.get("id")
    return f"list {_shown(list_id)}" if isinstance(list_id, str) and list_id else f"list {index + 1}"


def _field(location: Location) -> str | None:
    """Give `deliveries.kind`, say; numbers are left out, since the line tells which."""
    return ".".join(_shown_key(part) for part in location if isinstance(part, str) and part != "[key]") or None


def _why(kind: str, location: Location, value: object) -> str:
    """Say what is wrong with a value and what to write, from the kind and the place of pydantic's error."""
    names = [part for part in location if isinstance(part, str)]
    table = names[0]
    if kind == "missing":
        return f"is missing; write {EXPECTED['.'.join(names)]}"
    if kind == "extra_forbidden":
        known = DeliveryTable.model_fields if len(names) > 1 else ListTable.model_fields
        if len(names) > 1 and names[-1] in ListTable.model_fields:
            return _belongs_above(table)
        return f"is no key here; {_nearest(names[-1], tuple(known))}"
    if names[-1] == "[key]":
        if table == "categories":
            return f"is no category; write 1 to {MAX_LABEL_CHARACTERS:,} characters"
        if names[-2] in ListTable.model_fields:
            return _belongs_above(table)
        return f"is no name of ours for a column; {_nearest(names[-2], COLUMN_NAMES)}"
    key = f"{table}.*" if len(names) > 1 and table in {"columns", "categories"} else ".".join(names)
    choices = _CHOICES.get(key)
    if choices and isinstance(value, str):
        return f"is {_shown(value)}; {_nearest(value, choices)}"
    return f"is {_shown(value)}; write {EXPECTED[key]}"


def _nearest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word[:_SHOWN_CHARACTERS], known, n=1)
    return f"did you mean {near[0]}? Known are {', '.join(known)}" if near else f"known are {', '.join(known)}"


def _belongs_above(table: str) -> str:
    header = "[[list.deliveries]]" if table == "deliveries" else f"[list.{table}]"
    return f"is a key of the list and stands below {header}; move it above that line"


def _unknown_top(key: str) -> str:
    if key in ListTable.model_fields:
        return "is a key of a list; move it below its [[list]]"
    if get_close_matches(key, ["list"]):
        return "is no key here; did you mean [[list]]?"
    return "is no key here; the file consists of [[list]] tables"


def _shown_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]{1,31}", key) else _shown(key)


def _shown(value: object) -> str:
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


# ---- where it stands ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """The line of a key, and whether it is written without quotation marks."""

    line: int
    is_bare: bool = False


# TOML 1.0. A string of several lines may have one or two quotation marks right before its closing three.
_TOKEN: Final = re.compile(
    r"""
    (?P<string> \"{3} (?: \\. | [^\\] )*? \"{3} \"{0,2} | '{3} .*? '{3} '{0,2}
              | " (?: \\. | [^"\\\n] )* " | ' [^'\n]* ' )
    | (?P<newline> \n ) | (?P<mark> [\[\]{}=,.] ) | (?P<skipped> [ \t\r]+ | \#[^\n]* ) | (?P<bare> [^\s\[\]{}=,.\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_END: Final = ("end", "", 0)
_DEEPEST: Final = 6  # list, number, deliveries, number, paths, number


def _scan(text: str) -> dict[Location, _Place]:
    """Give the place of every key, table and array item of a text that tomllib took.

    Raises RecursionError where arrays are nested too deep, as tomllib does.
    """
    return _Scan(text).places


class _Scan:
    """One walk over the tokens: (kind, text, line)."""

    def __init__(self, text: str) -> None:
        self.places: dict[Location, _Place] = {}
        self._counts: dict[Location, int] = {}
        self._tokens = _tokens(text)
        self._token = next(self._tokens, _END)
        table: Location = ()
        while self._token is not _END:
            if self._token[1] == "\n":
                self._step()
            elif self._token[1] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _step(self) -> tuple[str, str, int]:
        token, self._token = self._token, next(self._tokens, _END)
        return token

    def _skip(self, *texts: str) -> None:
        while self._token[1] in texts and self._token is not _END:
            self._step()

    def _header(self) -> Location:
        """Take `[key]` or `[[key]]`; give where its table is."""
        line = self._step()[2]
        is_array = self._token[1] == "["
        self._skip("[")
        keys = self._keys()
        self._skip("]")
        location: Location = ()
        for index, (key, _) in enumerate(keys):
            location = _below(location, key)
            if is_array and index == len(keys) - 1:
                self._counts[location] = self._counts.get(location, -1) + 1
                self.places.setdefault(location, _Place(line))
            if location in self._counts:
                location = _below(location, self._counts[location])
        self.places.setdefault(location, _Place(line))
        return location

    def _keys(self) -> list[tuple[str, _Place]]:
        """Take a key, or keys with dots between."""
        keys = []
        while self._token[0] in {"string", "bare"}:
            kind, text, line = self._step()
            keys.append((_key(text) if kind == "string" else text, _Place(line, kind == "bare")))
            self._skip(".")
        return keys

    def _pair(self, table: Location) -> None:
        """Take `key = value`."""
        for key, place in self._keys():
            table = _below(table, key)
            self.places.setdefault(table, place)
        self._skip("=")
        self._value(table)

    def _value(self, location: Location) -> None:
        if self._token[1] == "[":
            self._step()
            index = 0
            while self._more("]"):
                item = _below(location, index)
                self.places.setdefault(item, _Place(self._token[2]))
                self._value(item)
                index += 1
        elif self._token[1] == "{":
            self._step()
            while self._more("}"):
                self._pair(location)
        else:
            self._step()
            while self._token[0] in {"bare", "string"} or self._token[1] == ".":  # 1.5, or a date and its time
                self._step()

    def _more(self, closing: str) -> bool:
        """Tell whether another item begins here; take the closing bracket if not."""
        self._skip("\n", ",")
        if self._token[1] != closing and self._token is not _END:
            return True
        self._step()
        return False


def _below(location: Location, part: str | int) -> Location:
    """Give the location of a part; deeper than any key of ours it is the one that holds it."""
    return (*location, part) if len(location) < _DEEPEST else location


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for token in _TOKEN.finditer(text):
        if token.lastgroup != "skipped":
            yield token.lastgroup or "", token[0], line
        line += token[0].count("\n")


def _key(text: str) -> str:
    if text[0] == "'":
        return text[1:-1]
    return text[1:-1] if "\\" not in text else str(tomllib.loads(f"key = {text}")["key"])
