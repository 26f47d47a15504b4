"""`hashwacht keys`: make the key that signs what goes live."""

from __future__ import annotations

from pathlib import Path

import click

from loader.cli import named_errors
from snapshot.signing import new_key


@click.group("keys", short_help="Make keys that sign what goes live.")
def keys() -> None:
    """Make keys that sign what goes live.

    A service that is given trusted keys takes nothing over that none of them signed. To replace a key, trust the old
    and the new one together (one file, one PEM block after the other), sign with the new one, then drop the old.
    """


@keys.command("new", short_help="Write a new private key, and its public key beside it.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def new(file: Path) -> None:
    """Write a new private key, and its public key beside it.

    FILE gets the private key, for its owner only; FILE.pub the public one. Keep the private key away from the store and
    from the services: only who publishes needs it.
    """
    with named_errors():
        key_id = new_key(file)
    click.echo(f"key         {key_id}")
    click.echo(f"private     {file}: give it to every command that changes what is live, as --signing-key")
    click.echo(f"public      {file}.pub: give it to serve as --trusted-keys")
