"""Docs and code agree: every command, option, setting, endpoint, format and error is documented, and no dead links."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

import hashwacht
import loader
import service.app
import service.problems
import service.settings
import snapshot.errors
from loader.diff_gate import FindingKind
from loader.errors import ListFileError, LoaderError
from loader.lists_file import DeliveryTable, ListTable
from loader.readers import READERS
from loader.readers.base import ReadOptions
from loader.report import FileReport
from loader.settings import LoaderSettings
from loader.sources import ListFile
from loader.test_list import CATEGORY, LIST_ID, TIER, harmless_files
from service.settings import ServiceSettings
from snapshot.algorithms import ALGORITHMS
from snapshot.labels import Tier
from snapshot.manifest import FORMAT_VERSION, AlgorithmFacts, ClassFacts, FileFacts, KnownGoodFacts, ListFacts, Manifest
from snapshot.overlay import Addition, Approval, Overlay, Suppression
from snapshot.store import Action, Current, HistoryEntry

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")


def reasons_of(family: type[Any]) -> set[str]:
    """Give the names of all errors below one, but not of those that only hold others together."""
    below = family.__subclasses__()
    return set().union(*map(reasons_of, below)) if below else {family.reason}


def commands(command: click.Command | None) -> Iterator[click.Command]:
    """Yield a command, or all those of a group."""
    assert command is not None
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from commands(below)
    else:
        yield command


@pytest.mark.parametrize("name", hashwacht.COMMANDS)
def test_every_command_is_in_operations(name: str) -> None:
    assert f"`hashwacht {name}`" in PAGES["operations.md"]


@pytest.mark.parametrize("name", hashwacht.COMMANDS)
def test_every_option_explains_itself(name: str) -> None:
    group = hashwacht.main
    assert isinstance(group, click.Group)
    for command in commands(group.get_command(click.Context(group), name)):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_every_option_that_the_pages_name_exists() -> None:
    group = hashwacht.main
    assert isinstance(group, click.Group)
    known = {"--help", "--version"}
    for name in hashwacht.COMMANDS:
        for command in commands(group.get_command(click.Context(group), name)):
            known.update(option for parameter in command.params for option in parameter.opts)
    ours = {option for option in known if option.startswith("--")}
    assert len(ours) > 30
    lines = [line for page in PAGES.values() for line in page.splitlines() if "hashwacht " in line]
    named = {option for line in lines for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
    assert len(named) > 15
    assert named <= ours


def test_every_loader_setting_is_documented_with_its_default() -> None:
    for name, facts in LoaderSettings.model_fields.items():
        row = re.search(rf"^\| `HASHWACHT_{name.upper()}` \| (.+?) \|", PAGES["operations.md"], re.MULTILINE)
        assert row is not None, name
        assert row[1] == ("–" if facts.default is None else str(facts.default))


def test_every_service_setting_is_documented_with_its_default() -> None:
    for name, facts in ServiceSettings.model_fields.items():
        row = re.search(rf"^\| `HASHWACHT_{name.upper()}` \| (.+?) \|", PAGES["http-api.md"], re.MULTILINE)
        assert row is not None, name
        shown = row[1].replace(",", "").replace(" KiB", "*1024").replace(" MiB", "*1048576")
        default = facts.default
        if isinstance(default, bool):
            assert shown == str(default).lower()
        elif isinstance(default, (int, float)):
            factors = [float(factor) for factor in shown.split("*")]
            assert factors[0] * (factors[1] if len(factors) > 1 else 1) == default
        elif isinstance(default, str):
            assert shown == default


def test_the_command_knows_exactly_the_variables_of_the_settings() -> None:
    fields = {*LoaderSettings.model_fields, *ServiceSettings.model_fields}
    assert {f"HASHWACHT_{name.upper()}" for name in fields} == hashwacht.VARIABLES


def test_every_error_of_a_store_is_in_operations() -> None:
    reasons = reasons_of(snapshot.errors.SnapshotError)
    assert "overlay_damaged" in reasons
    for reason in reasons - {"invalid_digest"}:
        assert f"`{reason}`" in PAGES["operations.md"], reason


def test_every_error_of_a_list_is_in_hash_lists() -> None:
    for module in pkgutil.walk_packages(loader.__path__, "loader."):
        importlib.import_module(module.name)  # some errors stand beside what raises them
    reasons = reasons_of(LoaderError)
    assert {"list_truncated", "lists_file_invalid", "diff_refused"} <= reasons
    assert ListFileError.reason not in reasons
    for reason in reasons:
        assert re.search(rf"^\| `{reason}` \|", PAGES["hash-lists.md"], re.MULTILINE), reason


def test_every_key_of_a_lists_file_is_in_its_page() -> None:
    for model in (ListTable, DeliveryTable):
        for name in model.model_fields:
            assert re.search(rf"^\| `{name}` \|", PAGES["lists-file.md"], re.MULTILINE), name


@pytest.mark.parametrize(
    "model",
    [
        Current, Manifest, FileFacts, AlgorithmFacts, KnownGoodFacts, ClassFacts, ListFacts,
        Overlay, Approval, Suppression, Addition, HistoryEntry,
    ],
)  # fmt: skip
def test_every_field_of_a_file_in_the_store_is_in_the_format(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        assert re.search(rf"`{name}(\[\]|\.<name>)?`", PAGES["snapshot-format.md"]), name


def test_the_format_is_the_current_one_and_knows_all_actions() -> None:
    page = PAGES["snapshot-format.md"]
    assert page.startswith(f"# Snapshot format, version {FORMAT_VERSION}\n")
    for action in get_args(Action):
        assert f"`{action}`" in page, action


def test_every_finding_that_stops_a_compile_is_in_operations() -> None:
    said = {
        "list_shrank": "`max_shrink`", "list_grew": "`max_growth`", "class_vanished": "the class is gone",
        "class_moved": "have other classes of the list now", "guard_collisions": "known good",
        "constant_value": "under more than 100 references", "seal_changed": "the seal is another one",
        "list_dropped": "`--drop-list ID`", "class_appeared": "New classes",
        "class_unmapped": "categories without a tier", "reclassed": "digests with other classes than before",
    }  # fmt: skip
    assert said.keys() == set(get_args(FindingKind))
    page = " ".join(PAGES["operations.md"].split())
    for kind, words in said.items():
        assert words in page, kind


def test_the_reader_of_the_guide_reads(tmp_path: Path) -> None:
    """The example in writing-a-reader.md is run as it stands."""
    (code,) = re.findall(r"```python\n(.+?)```", PAGES["writing-a-reader.md"], re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    reader = names["NamedReader"]()
    md5, sha256 = (random.randbytes(length) for length in (16, 32))
    path = tmp_path / "list"
    path.write_text(f"# a list\na=b={md5.hex()}\nmalformed\n={md5.hex()}\n\nc={sha256.hex()}\nd={md5.hex()[1:]}\n")
    report = FileReport(str(path), reader.name, reader.unit)
    with ListFile(str(path)) as source:
        assert reader.recognises(source.first_lines(), ReadOptions())
        batches = list(reader.read(source, ReadOptions(), report))
    found = [(batch.algorithm.name, batch.digests.tobytes()) for batch in batches]
    assert sorted(found) == [("md5", md5), ("sha256", sha256)]
    assert dict(report.digests) == {"md5": 1, "sha256": 1}
    assert report.lines_read == 7
    assert [(bad.line, bad.field) for bad in report.bad_lines] == [(3, "line"), (4, "line"), (7, "digest")]
    assert not reader.recognises([b"malformed", b"# nothing"], ReadOptions())


def test_every_problem_is_in_the_api_with_its_status() -> None:
    rows = [line for line in PAGES["http-api.md"].splitlines() if line.startswith("|")]
    for reason, status in service.problems.REASONS.items():
        row = [line for line in rows if f"`{reason}`" in line]
        assert row, reason
        assert str(status) in row[0].split("|")[1]


def test_every_endpoint_is_in_the_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HASHWACHT_STORE", str(tmp_path))
    app = service.app.create_app()
    described = app._rest.openapi()["paths"]
    assert "/v1/match" in described
    for path in described:
        assert path in PAGES["http-api.md"], path


def test_every_exit_code_is_in_operations() -> None:
    codes = re.findall(r"^    (\d+) ", hashwacht.__doc__ or "", re.MULTILINE)
    assert len(codes) >= 8
    for code in codes:
        assert f"| {code} |" in PAGES["operations.md"]


def test_every_format_algorithm_and_tier_is_in_hash_lists() -> None:
    for name in [*READERS, *ALGORITHMS, *Tier]:
        assert f"`{name}`" in PAGES["hash-lists.md"] or name in PAGES["hash-lists.md"], name
    for name in READERS:
        assert f"| `{name}` |" in PAGES["hash-lists.md"]


def test_the_request_of_the_readme_is_of_a_harmless_file() -> None:
    """So that it is right on every machine, whatever the demo compiles there."""
    first, content = next(iter(harmless_files().items()))
    digest = hashlib.md5(content).hexdigest()
    assert first == "hashwacht-test-01.txt"
    assert PAGES["README.md"].count(digest) == 2
    assert f'"list_id": "{LIST_ID}", "category": "{CATEGORY}", "tier": "{TIER}"' in PAGES["README.md"]


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`?make ([a-z0-9-]+)", PAGES["README.md"]))
    assert {"demo", "test", "check", "install"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", sorted(PAGES))
def test_links_lead_somewhere(name: str) -> None:
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[name]):
        if target.startswith("https://"):
            continue  # elsewhere; only pages about what others reported have such
        path, _, anchor = target.partition("#")
        page = folder / path if path else folder / name
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, target


def test_files_named_in_how_it_works_exist() -> None:
    named = re.findall(r"(?:loader|snapshot|service)/[a-z_/]+\.py", PAGES["how-it-works.md"])
    assert len(named) > 10
    for path in named:
        assert (ROOT / path).is_file(), path


def test_every_module_of_the_benchmarks_is_in_their_contents_and_nothing_else() -> None:
    folder = ROOT / "benchmarks"
    named = set(re.findall(r"\w+\.py\b", (folder / "__init__.py").read_text(encoding="utf-8")))
    assert named == {path.name for path in folder.glob("*.py")} - {"__init__.py"}
