"""The lists.toml of an operator: all hash lists of a compile, described once.

    lists.toml ──► tomllib ──► ListTable, one for each [[list]] ──► globs ──► ListInput (loader/inputs.py)
         │                     loader/lists_tables.py              loader/list_globs.py
         └──────► the line of every key ──► faults that name their line
                  loader/toml_places.py

Every key is in docs/lists-file.md. The whole file is checked before any list is read, and all its faults are named
together: who edits it by hand does not have to find them one compile at a time. What is in doubt is refused rather than
guessed, since a setting that is silently not in force is a list that silently does not match.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeGuard

from pydantic import ValidationError

from loader.errors import LoaderError
from loader.inputs import Limits, ListInput
from loader.label_numbers import MAX_DELIVERIES
from loader.list_globs import expand
from loader.lists_tables import (
    LIST_ID,
    LIST_ID_RULE,
    LIST_KEYS,
    NOT_OF_KNOWN_GOOD,
    DeliveryTable,
    ListTable,
    belongs_above,
    field_of,
    name_of,
    shown,
    shown_key,
    unknown_top,
    why,
)
from loader.readers.base import ReadOptions
from loader.toml_places import Location, Place, places_of
from snapshot.algorithms import ALGORITHMS

__all__ = [
    "LIST_ID",
    "LIST_ID_RULE",
    "DeliveryTable",
    "Fault",
    "ListTable",
    "ListsFile",
    "ListsFileInvalid",
    "read_lists_file",
]

#: The largest lists.toml; the largest that anybody writes has some kilobytes.
MAX_FILE_BYTES: Final = 1 << 20
#: Faults that are named; the others are only counted.
NAMED_FAULTS: Final = 20
# tomllib takes the square of a key's parts: a minute for 50,000 of them. No key of ours has more than three.
_LONG_KEY: Final = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""",
)


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
        places = places_of(text)
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


@dataclass(slots=True)
class _Check:
    """Collects the faults of one file. `base` is the directory that its globs start from."""

    base: Path
    places: Mapping[Location, Place]
    faults: list[Fault] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def file(self, tables: dict[str, Any]) -> list[tuple[ListTable, list[tuple[int, str]]]]:
        """Check all; give each list with its files, each with the number of its delivery."""
        for key in tables:
            if key != "list":
                self._fault((key,), f"{shown_key(key)}: {unknown_top(key)}")
        lists = tables.get("list")
        if lists is None:
            self._fault((), "there is no list; describe each in a table of its own: [[list]]")
            return []
        if not _is_list_of_tables(lists) or not lists:
            self._fault(("list",), "list: write every list as a table with double brackets: [[list]]")
            return []
        self.names = [name_of(table, index) for index, table in enumerate(lists)]
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
                self._fault((*where, *one["loc"]), why(one["type"], one["loc"], one["input"]))
        self._combinations(where, table)
        files = self._files(where, table)
        return None if valid is None else (valid, files)

    def _combinations(self, where: Location, table: dict[str, Any]) -> None:
        """Check keys that are good by themselves and not together."""
        if table.get("kind") == "known-good":
            for key in NOT_OF_KNOWN_GOOD:
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
            if key in LIST_KEYS and place is not None and place.is_bare:
                text = f"{belongs_above('categories')}; or in quotation marks, if a category is called so"
                self._fault((*where, "categories", key), text)
        if isinstance(category, str) and "tier" in table and categories.get(category, table["tier"]) != table["tier"]:
            line = self._line((*where, "categories", category))
            text = f"is the tier of {shown(category)} too, which line {line} gives another; make them the same"
            self._fault((*where, "tier"), text)

    def _files(self, where: Location, table: dict[str, Any]) -> list[tuple[int, str]]:
        """Find the files of a list, each with the number of its delivery; of deliveries only those that count."""
        seen: dict[str, int] = {}
        found = [(0, file) for file in self._matching((*where, "paths"), table.get("paths"), seen)]
        deliveries = table.get("deliveries")
        if not _is_list_of_tables(deliveries) or not deliveries:
            return found
        if len(deliveries) > MAX_DELIVERIES:
            text = f"is one of {len(deliveries):,}, more than {MAX_DELIVERIES:,}; merge the oldest into a full one"
            self._fault((*where, "deliveries", MAX_DELIVERIES), text)
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
            files, fault = expand(pattern, self.base, seen, self._line(location))
            if fault is not None:
                self._fault(location, fault)
            found += files
        return found

    def _fault(self, location: Location, text: str) -> None:
        line = self._line(location)
        if len(location) > 1 and isinstance(location[1], int):
            self.faults.append(Fault(line, self.names[location[1]], field_of(location[2:]), text))
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
