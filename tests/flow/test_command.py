"""The command as a whole: help that costs nothing, the table of subcommands, variables, exit codes of wrong usage."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hashwacht import COMMANDS, VARIABLES
from hashwacht import __doc__ as documentation
from tests.command import ROOT, environment, hashwacht


def command(name: str) -> click.Command:
    module, attribute = COMMANDS[name][0].split(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"], []])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """Asked of the interpreter itself, which lists every module that was imported."""
    line = [sys.executable, "-X", "importtime", "-m", "hashwacht", *words]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=60, check=False)
    assert "hashwacht" in done.stdout or "Usage: hashwacht" in done.stderr
    imported = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines() if row.startswith("import time:")}
    assert "click" in imported, "the list of modules could not be read"
    heavy = {"numpy", "lmdb", "fastapi", "pydantic", "uvicorn", "rich", "orjson", "snapshot", "loader", "service"}
    assert not {name for name in imported if name.partition(".")[0] in heavy}


def test_help_shows_every_command_with_its_summary() -> None:
    said = hashwacht("--help").out
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", said, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_repeats_the_command_own_words(name: str) -> None:
    own = command(name)
    assert (own.name, own.short_help) == (name, COMMANDS[name][1])
    assert (own.help or "").startswith(COMMANDS[name][1])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_explains_itself(name: str) -> None:
    own = command(name)
    below = list(own.commands.values()) if isinstance(own, click.Group) else [own]
    for each in below:
        with click.Context(each, info_name=name) as context:
            text = each.get_help(context)
        for parameter in each.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, parameter.name
                assert parameter.opts[0] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_runs(name: str) -> None:
    said = hashwacht(name, "--help").out
    assert re.match(rf"Usage: hashwacht(\.py)? {name} ", said)
    assert COMMANDS[name][1] in said


def test_the_version() -> None:
    assert hashwacht("--version").out.split()[-1] == importlib.metadata.version("hashwacht")


def test_the_known_variables_are_those_of_the_settings() -> None:
    from loader.settings import LoaderSettings
    from service.settings import ServiceSettings

    fields = {*LoaderSettings.model_fields, *ServiceSettings.model_fields}
    assert {f"HASHWACHT_{name.upper()}" for name in fields} == VARIABLES


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("HASHWACHT_STROE", "Did you mean HASHWACHT_STORE?"),
        ("HASHWACHT_WORKER", "Did you mean HASHWACHT_WORKERS?"),
        ("HASHWACHT_MEMORY_MB", "Did you mean HASHWACHT_MEMORY_MIB?"),
    ],
)
@pytest.mark.parametrize("name", ["compile", "history"])
def test_a_misspelt_variable_stops_everything(tmp_path: Path, variable: str, hint: str, name: str) -> None:
    said = hashwacht(name, "--store", tmp_path, code=2, **{variable: "7"})
    assert f"the environment has {variable}, which is no setting. {hint}" in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MEMORY_MIB", "much"), ("MEMORY_MIB", "1"), ("FALSE_POSITIVE_RATE", "1"), ("MAX_BAD_SHARE", "-1")],
)
def test_a_variable_out_of_bounds_is_named(tmp_path: Path, variable: str, value: str) -> None:
    words = ("compile", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", "-")
    said = hashwacht(*words, code=2, **{f"HASHWACHT_{variable}": value})
    assert f"Error: HASHWACHT_{variable}: " in said.err


def test_an_unknown_command_and_an_unknown_option() -> None:
    assert "No such command 'compare'" in hashwacht("compare", code=2).err
    assert "No such option '--stroe'" in hashwacht("show", "--stroe", "x", code=2).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--list-id", "a b", "--tier", "other", "-"], "1 to 64 letters, digits, dots, dashes and underscores"),
        (["--list-id", "-x", "--tier", "other", "-"], "'-x': 1 to 64"),
        (["--list-id", "a" * 65, "--tier", "other", "-"], "1 to 64"),
        (["--list-id", "a", "--tier", "bad", "-"], "'bad' is not one of 'baseline', 'illegal', 'investigative'"),
        (
            ["--list-id", "a", "--tier", "other"],
            "FILES is missing; or describe the lists in a lists file, with --lists",
        ),
        (["--tier", "other", "-"], "--list-id is missing; or describe the lists in a lists file, with --lists"),
        (["--list-id", "a", "-"], "--tier is missing; or describe the lists in a lists file, with --lists"),
        (["-"], "--list-id is missing; or describe the lists in a lists file, with --lists"),
        ([], "say what to compile: --lists FILE, or --list-id, --tier and FILES"),
        (
            ["--lists", "l.toml", "--list-id", "a"],
            "--lists describes every list: leave --list-id, --tier and FILES away",
        ),
        (["--lists", "l.toml", "--tier", "other"], "--lists describes every list: leave"),
        (["--lists", "l.toml", "-"], "--lists describes every list: leave"),
        (["--list-id", "hashwacht-test", "--tier", "other", "-"], "take it in with --with-test-list"),
        (["--list-id", "a", "--tier", "other", "--category", "", "-"], "1 to 1,024 printable characters"),
        (["--list-id", "a", "--tier", "other", "--category", "a\nb", "-"], "1 to 1,024 printable characters"),
        (["--list-id", "a", "--tier", "other", "--column", "md5", "-"], "'md5': write NAME=HEADER"),
        (["--list-id", "a", "--tier", "other", "--column", "pdq=x", "-"], "'pdq=x': write NAME=HEADER"),
        (["--list-id", "a", "--tier", "other", "--column", "md5=a", "--column", "md5=b", "-"], "'md5' is given twice"),
        (["--list-id", "a", "--tier", "other", "--delimiter", ";;", "-"], "--delimiter: is one character"),
        (["--list-id", "a", "--tier", "other", "--format", "xls", "-"], "'xls' is not one of"),
        (["--list-id", "a", "--tier", "other", "--algorithm", "md4", "-"], "'md4' is not one of"),
        (["--list-id", "a", "--tier", "other", "--memory-mib", "1", "-"], "1 is not in the range x>=64"),
        (["--list-id", "a", "--tier", "other", "--max-bad-share", "2", "-"], "2.0 is not in the range 0<=x<=1"),
        (["--list-id", "a", "--tier", "other", "-", "-"], "standard input can be read only once"),
    ],
)
def test_wrong_usage_of_compile_exits_with_2_and_touches_nothing(
    tmp_path: Path, words: list[str], message: str
) -> None:
    store = tmp_path / "store"
    assert message in hashwacht("compile", "--store", store, *words, code=2).err
    assert not store.exists()


def test_a_store_is_needed_and_is_a_directory(tmp_path: Path) -> None:
    assert "Missing option '--store'" in hashwacht("show", code=2).err
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert "is a file" in hashwacht("show", "--store", file, code=2).err


def test_the_store_may_come_from_the_environment(tmp_path: Path) -> None:
    said = hashwacht("show", code=4, HASHWACHT_STORE=str(tmp_path / "nowhere"))
    assert f"error [no_store]: {tmp_path / 'nowhere'}: the store is not there" in said.err


def test_exit_codes_are_the_documented_ones() -> None:
    from loader import cli

    documented = {int(code) for code in re.findall(r"^    (\d+) +\S", documentation or "", re.MULTILINE)}
    assert documented == {0, 1, 2, 3, 4, 5, 6, 130}
    assert (cli.EXIT_REFUSED, cli.EXIT_STORE, cli.EXIT_LOCKED, cli.EXIT_INTERRUPTED) == (3, 4, 5, 130)
