"""What commands print for scripts."""

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
