"""Settings come from HASHWACHT_… variables, and one that makes no sense is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from loader.settings import PREFIX, LoaderSettings


@pytest.fixture(autouse=True)
def _no_variables_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LoaderSettings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)


def test_defaults() -> None:
    assert LoaderSettings().model_dump() == {
        "memory_mib": 1024, "false_positive_rate": 0.001, "signing_key": None, "seal_key": None,
        "max_bad_share": None,
    }  # fmt: skip


def test_every_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "memory_mib": 64, "false_positive_rate": 1e-6, "signing_key": Path("/keys/signing"),
        "seal_key": Path("/keys/seal"), "max_bad_share": 0.5,
    }  # fmt: skip
    assert values.keys() == LoaderSettings.model_fields.keys()
    for name, value in values.items():
        monkeypatch.setenv(f"HASHWACHT_{name.upper()}", str(value))
    assert LoaderSettings().model_dump() == values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_mib", "63"), ("memory_mib", "1e3"), ("memory_mib", ""), ("memory_mib", "1048577"),
        ("false_positive_rate", "0"), ("false_positive_rate", "0.2"), ("false_positive_rate", "nan"),
        ("max_bad_share", "-0.1"), ("max_bad_share", "1.1"), ("max_bad_share", "all"),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"HASHWACHT_{name.upper()}", value)
    with pytest.raises(ValidationError) as caught:
        LoaderSettings()
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_nobody_changes_them_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        LoaderSettings().memory_mib = 100


def test_each_has_a_description() -> None:
    assert all(field.description for field in LoaderSettings.model_fields.values())
