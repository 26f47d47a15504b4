"""`hashwacht keys`: make the keys that sign what goes live and that seal what is stored, and begin to sign."""

from __future__ import annotations

from pathlib import Path

import click

from loader.cli import json_option, load_signing_key, named_errors, signing_key_option, store_option
from loader.overlay_cli import by_option, by_whom, reason_option
from loader.printing import print_json
from loader.progress import Shown
from snapshot.seal import new_seal_key
from snapshot.signing import new_key
from snapshot.store import Store
from snapshot.swap import sign_live


@click.group("keys", short_help="Make keys that sign what goes live, or seal what is stored.")
def keys() -> None:
    """Make keys that sign what goes live, or seal what is stored.

    A service that is given trusted keys takes nothing over that none of them signed. To replace a key, trust the old
    and the new one together (one file, one PEM block after the other), `keys sign` with the new one, then drop the old.
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


@keys.command("new-seal", short_help="Make a key that seals what is stored.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def new_seal(file: Path) -> None:
    """Make a key that seals what is stored.

    It is written to FILE, which may not exist, and which nobody but you can read. A store that is compiled with it is
    no hash list to anybody else. Keep a copy where the store is not: without the key a store answers nothing.
    """
    with named_errors():
        key_id = new_seal_key(file)
    click.echo(f"seal key    {key_id}")
    click.echo(
        f"file        {file}: give it to serve, compile, lookup, suppress, add and their opposites, as --seal-key"
    )


@keys.command("sign", short_help="Sign what is live for the first time, or with another key.")
@store_option
@signing_key_option
@reason_option
@by_option
@json_option
def sign(store: Path, signing_key_file: Path | None, reason: str, by: str | None, as_json: bool) -> None:
    """Sign what is live for the first time, or with another key.

    Look at it first (`lists`, `overlay`, `history`): the signature vouches for all of it. From then on every change is
    signed with this key, and none is when what it builds on is not.
    """
    with named_errors(), Shown() as progress:
        key = load_signing_key(signing_key_file)
        if key is None:
            raise click.UsageError("give --signing-key, or HASHWACHT_SIGNING_KEY.")
        progress.stage("verifying", None)
        signed = sign_live(Store(store), key, by=by_whom(by).name, reason=reason, on_bytes=progress.advance)
    current, overlay = signed.current, signed.overlay
    vouched = {
        "approved": len(overlay.approvals), "suppressed": len(overlay.suppressions), "added": len(overlay.additions)
    }  # fmt: skip
    if as_json:
        print_json({"generation": current.generation, "snapshot_id": current.snapshot_id, "key_id": current.key_id,
                    "overlay_version": current.overlay_version, **vouched, "details": signed.details})  # fmt: skip
        return
    click.echo(f"live        generation {current.generation}, snapshot {current.snapshot_id}")
    click.echo(f"signed by   {current.key_id}")
    click.echo(f"overlay     {current.overlay_version}: " + ", ".join(f"{n:,} {what}" for what, n in vouched.items()))
    for detail in signed.details:
        click.echo(f"            {detail}")
