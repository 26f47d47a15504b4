"""Which files the globs of a list name."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from loader.lists_tables import shown


def expand(pattern: str, base: Path, seen: dict[str, int], line: int) -> tuple[list[str], str | None]:
    """Give the files that a glob at this line matches, sorted, and what is wrong with it, as it reads on from the key.

    It starts from `base`. `seen` are the real paths of the list's files so far, with their lines: none may be matched
    again, and these are added. Cost: a walk through the directories that the glob names.
    """
    matches = [_file_name(base, match) for match in _glob(pattern, base)]
    if not matches:
        return [], f"{shown(pattern)} matches nothing in {base}; correct it, or remove it"
    directory = next(filter(os.path.isdir, matches), None)
    if directory is not None:
        return [], f"{shown(pattern)} matches the directory {shown(directory)}; name the files in it, such as *.csv"
    for file in matches:
        real = os.path.realpath(file)
        if real in seen:
            return matches, f"{shown(pattern)} matches {shown(file)}, which line {seen[real]} has already; name it once"
        seen[real] = line
    return matches, None


def _glob(pattern: str, base: Path) -> list[str]:
    return sorted(set(glob.glob(pattern, root_dir=base, recursive=True)))  # noqa: PTH207 - Path's takes no absolute one


def _file_name(base: Path, match: str) -> str:
    name = str(base / match)
    return name if name != "-" else "./-"  # a file of that name, not standard input
