"""Docs and code agree: every command, option, setting, endpoint, format and error is documented, and no dead links."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import hashwacht
import loader.errors
import service.app
import service.problems
import service.settings
import snapshot.errors
from loader.readers import READERS
from loader.settings import LoaderSettings
from service.settings import ServiceSettings
from snapshot.algorithms import ALGORITHMS
from snapshot.labels import Tier

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")


def reasons_of(module: object, root: type[Exception]) -> set[str]:
    found = {value for value in vars(module).values() if isinstance(value, type) and issubclass(value, root)}
    parents = {base for error in found for base in error.__mro__[1:]}
    return {error.reason for error in found - parents}  # type: ignore[attr-defined]  # the families have it


@pytest.mark.parametrize("name", hashwacht.COMMANDS)
def test_every_command_is_in_operations(name: str) -> None:
    assert f"`hashwacht {name}`" in PAGES["operations.md"]


@pytest.mark.parametrize("name", hashwacht.COMMANDS)
def test_every_option_explains_itself(name: str) -> None:
    group = hashwacht.main
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


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
    for reason in reasons_of(snapshot.errors, snapshot.errors.SnapshotError) - {"invalid_digest"}:
        assert f"`{reason}`" in PAGES["operations.md"], reason


def test_every_error_of_a_list_is_in_hash_lists() -> None:
    for reason in reasons_of(loader.errors, loader.errors.LoaderError):
        assert f"`{reason}`" in PAGES["hash-lists.md"], reason


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
