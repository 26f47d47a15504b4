from __future__ import annotations

from pathlib import Path

import pytest

from service.cli import serve
from service.errors import BadSettings
from service.settings import ServiceSettings, load_settings, option_of
from snapshot.seal import new_seal_key
from snapshot.signing import new_key


def test_defaults(tmp_path: Path) -> None:
    settings = load_settings({"store": tmp_path})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert (settings.max_digests, settings.max_body_bytes, settings.insecure_open) == (10_000, 4_194_304, False)


def test_options_beat_variables_beat_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHWACHT_STORE", str(tmp_path))
    monkeypatch.setenv("HASHWACHT_PORT", "8001")
    monkeypatch.setenv("HASHWACHT_WORKERS", "3")
    settings = load_settings({"port": "8002", "workers": None})
    assert (settings.port, settings.workers) == (8002, 3)


def test_the_environment_carries_all_of_it_to_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key(tmp_path / "key")
    new_seal_key(tmp_path / "seal")
    trusted = tmp_path / "key.pub"
    options = {
        "store": tmp_path / "a b", "host": "::1", "port": 7, "workers": 2, "max_digests": 3, "max_body_bytes": 2000,
        "max_header_bytes": 3000, "request_timeout_seconds": 1.5, "state_dir": tmp_path / "s", "log_level": "debug",
        "log_format": "json", "insecure_open": True, "trusted_keys": trusted, "seal_key": tmp_path / "seal",
    }  # fmt: skip
    assert set(options) == set(ServiceSettings.model_fields)
    settings = load_settings(options)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_a_relative_store_is_the_same_for_workers_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({"store": "store"}).store == tmp_path / "store"


@pytest.mark.parametrize("content", [None, b"", b"no key"])
def test_a_file_without_keys_is_refused_before_anything_is_served(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
        (tmp_path / "keys").chmod(0o600)
    with pytest.raises(BadSettings, match=r"--trusted-keys or HASHWACHT_TRUSTED_KEYS: .*keys: "):
        load_settings({"store": tmp_path, "trusted_keys": tmp_path / "keys"})
    with pytest.raises(BadSettings, match=r"--seal-key or HASHWACHT_SEAL_KEY: .*keys(, line 1)?: "):
        load_settings({"store": tmp_path, "seal_key": tmp_path / "keys"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "--store or HASHWACHT_STORE: is missing"),
        ({"store": "/dev/null"}, "not a directory"),
        ({"store": ".", "port": "65536"}, "--port or HASHWACHT_PORT"),
        ({"store": ".", "workers": "0"}, "HASHWACHT_WORKERS"),
        ({"store": ".", "max_body_bytes": "1 MiB"}, "--max-body-bytes"),
        ({"store": ".", "request_timeout_seconds": "0"}, "--request-timeout-seconds"),
        ({"store": ".", "log_level": "loud"}, "--log-level"),
        ({"store": ".", "host": ""}, "--host"),
    ],
)
def test_what_makes_no_sense_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(BadSettings) as refused:
        load_settings(options)
    assert said in str(refused.value)


def test_every_setting_is_an_option_with_its_help() -> None:
    options = {option for parameter in serve.params for option in parameter.opts}
    assert options == {option_of(name) for name in ServiceSettings.model_fields}
    for name, field in ServiceSettings.model_fields.items():
        assert field.description, name
