"""The command: a table of subcommands, each imported only when it is asked for.

`hashwacht --help` imports neither numpy nor lmdb nor fastapi, and serving never imports the loader.

Exit codes, the same for all subcommands:

    0    done
    1    verify found damage; serve could not start its workers
    2    wrong usage: an option, an argument or a HASHWACHT_ variable
    3    the input was refused: a list, or a digest to look up
    4    the store or a snapshot in it is unusable, or there is none
    5    another compile or rollback holds the store's lock
    6    the address to serve on is taken
    130  interrupted
"""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from os import environ
from types import MappingProxyType
from typing import Final

import click

#: Subcommand → where its click command is, and its one-line help (a test holds both to the command's own).
COMMANDS: Final = MappingProxyType({
    "compile": ("loader.cli:compile_command", "Compile hash lists into a snapshot and make it live."),
    "inspect": ("loader.inspect_cli:inspect", "Say what list files hold, and print a lists.toml for them."),
    "lists": ("loader.lists_cli:lists", "Show suppliers, deliveries and classes: on, off or waiting."),
    "approve": ("loader.overlay_cli:approve", "Switch classes of a list on."),
    "revoke": ("loader.overlay_cli:revoke", "Switch classes of a list off."),
    "suppress": ("loader.overlay_cli:suppress", "Make digests silent, whatever lists them."),
    "unsuppress": ("loader.overlay_cli:unsuppress", "Lift suppressions."),
    "add": ("loader.overlay_cli:add", "List digests on top of the live snapshot."),
    "remove": ("loader.overlay_cli:remove", "Take additions back."),
    "overlay": ("loader.overlay_cli:overlay", "Show what holds on top of the live snapshot."),
    "keys": ("loader.keys_cli:keys", "Make keys that sign what goes live, or seal what is stored."),
    "verify": ("loader.store_cli:verify", "Check every byte of every published snapshot."),
    "show": ("loader.store_cli:show", "Show what is live: lists, classes, counts, sizes, filter rates."),
    "history": ("loader.store_cli:history", "Show what went live when, newest first."),
    "diff": ("loader.lists_cli:diff", "Show what differs between two snapshots."),
    "rollback": ("loader.store_cli:rollback", "Make an older snapshot live again, as a new generation."),
    "lookup": ("loader.store_cli:lookup", "Look digests up in the live snapshot, offline."),
    "test-list": (
        "loader.lists_cli:test_list_command", "Write harmless files whose digests are on the public test list.",
    ),
    "serve": ("service.cli:serve", "Answer match queries over HTTP."),
})  # fmt: skip

PREFIX: Final = "HASHWACHT_"

#: Every variable of the environment that means something (tests hold it to the settings classes).
VARIABLES: Final = frozenset({
    "HASHWACHT_STORE", "HASHWACHT_SIGNING_KEY",
    "HASHWACHT_MEMORY_MIB", "HASHWACHT_FALSE_POSITIVE_RATE", "HASHWACHT_MAX_BAD_SHARE",
    "HASHWACHT_HOST", "HASHWACHT_PORT", "HASHWACHT_WORKERS", "HASHWACHT_INSECURE_OPEN",
    "HASHWACHT_MAX_DIGESTS", "HASHWACHT_MAX_BODY_BYTES", "HASHWACHT_MAX_HEADER_BYTES",
    "HASHWACHT_REQUEST_TIMEOUT_SECONDS", "HASHWACHT_STATE_DIR", "HASHWACHT_TRUSTED_KEYS", "HASHWACHT_SEAL_KEY",
    "HASHWACHT_LOG_LEVEL", "HASHWACHT_LOG_FORMAT",
})  # fmt: skip


class _LazyGroup(click.Group):
    """A group that imports a subcommand's module when the subcommand is run, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a subcommand. Interrupted before it can say so itself, it ends with 130; click would say 1, damage."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _check_environment() -> None:
    """Stop at a misspelt variable: a setting that is silently not in force is worse than none."""
    for name in sorted(environ):
        upper = name.upper()  # the settings do not mind case
        if upper.startswith(PREFIX) and upper not in VARIABLES:
            # Compared without the prefix, which they all share.
            near = get_close_matches(upper[len(PREFIX) :], [known[len(PREFIX) :] for known in VARIABLES], n=1)
            hint = f" Did you mean {PREFIX}{near[0]}?" if near else f" Known: {', '.join(sorted(VARIABLES))}."
            raise click.UsageError(f"the environment has {name}, which is no setting.{hint}")


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 damage found, 2 usage, 3 input refused, 4 store unusable, 5 store locked, "
    "6 address taken. Every command explains itself with --help.",
)
@click.version_option(package_name="hashwacht")
def main() -> None:
    """Check digests of uploads against lists of known illegal material, without ever seeing the material.

    Lists are compiled into a snapshot in a store (a directory); a service answers from it:

    \b
        hashwacht compile --store store --list-id police --tier baseline hashes.txt
        hashwacht serve --store store
    """  # noqa: D301 - click's mark for lines to leave as they are
    _check_environment()


if __name__ == "__main__":
    main(prog_name="hashwacht")
