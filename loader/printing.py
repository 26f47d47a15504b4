"""How commands print: for scripts, and numbers for people."""

from __future__ import annotations

import json

import click
import orjson


def print_json(value: object) -> None:
    """Print one JSON value."""
    try:
        encoded = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:  # a file name or argument that is no UTF-8: lone surrogates, which json escapes
        encoded = json.dumps(value, indent=2)
    click.echo(encoded)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Give `1 file` or `2 files`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
