"""`hashwacht serve`: parses options, runs the server, turns errors into exit codes.

Every setting is an option, and every option a setting: they are made from service/settings.py.
"""

from __future__ import annotations

import sys
from typing import Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.errors import ServiceError
from service.settings import ServiceSettings, load_settings, option_of, variable_of


def _run(**options: object) -> None:
    """Answer match queries over HTTP.

    Batches of digests are looked up in the live snapshot of a store; a new one is taken up within a second.

    Every option can also be given by the variable in brackets; the option wins. Ends with 0 after SIGTERM or
    SIGINT, 2 when a setting is wrong, 6 when the port cannot be had, 1 when the workers cannot start.
    """
    try:
        settings = load_settings(options)
        from service.server import serve

        serve(settings)
    except ServiceError as error:
        click.echo(f"hashwacht serve: {error}", err=True)
        sys.exit(error.exit_code)


def _option(name: str, field: FieldInfo) -> click.Option:
    kind = field.annotation
    has_default = field.default is not None and field.default is not PydanticUndefined
    default = f"  Default: {field.default}." if has_default and kind is not bool else ""
    text = f"{field.description}{default} [{variable_of(name)}]"
    if kind is bool:
        return click.Option([option_of(name)], is_flag=True, default=None, help=text)
    if get_origin(kind) is Literal:
        return click.Option([option_of(name)], type=click.Choice(get_args(kind)), help=text)
    return click.Option([option_of(name)], metavar=name.rsplit("_", 1)[-1].upper(), help=text)


serve = click.Command(
    "serve",
    short_help="Answer match queries over HTTP.",
    callback=_run,
    help=_run.__doc__,
    params=[_option(name, field) for name, field in ServiceSettings.model_fields.items()],
)
