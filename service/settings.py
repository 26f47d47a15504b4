"""Every setting of the service, in one frozen class, read once and passed down.

An option of `hashwacht serve` beats the variable HASHWACHT_<NAME>, which beats the default. A misspelt variable stops
the command before it gets here (hashwacht.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import BadSettings
from snapshot.errors import KeyUnusable
from snapshot.seal import SealKeys
from snapshot.signing import TrustedKeys

PREFIX: Final = "HASHWACHT_"


class ServiceSettings(BaseSettings):
    """What the service can be told. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, extra="forbid")

    store: Path = Field(description="Directory of the store to serve. It may be empty at first: not ready until then.")
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; beyond loopback wants insecure_open."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Worker processes. They share one page cache.")
    max_digests: int = Field(10_000, ge=1, le=1_000_000, description="Most digests, or files, in one request.")
    max_body_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024, description="Most bytes in a request's body."
    )
    max_header_bytes: int = Field(
        65_536, ge=1024, le=1024 * 1024, description="Most bytes in a request's line and headers together."
    )
    request_timeout_seconds: float = Field(
        10.0, gt=0, le=3600,
        description="Longest time from the first byte of a request to its last; also for a client that takes no reply.",
    )  # fmt: skip
    state_dir: Path | None = Field(
        None,
        description="Directory where verified snapshots and the highest generation are noted. Default: "
        "$XDG_STATE_HOME/hashwacht or ~/.local/state/hashwacht. It must be ours alone to write.",
    )
    trusted_keys: Path | None = Field(
        None,
        description="File of public keys in PEM, one or more. With it nothing is taken over that none of them signed, "
        "nor a generation older than the highest seen.",
    )
    seal_key: Path | None = Field(
        None,
        description="File of the key that the store is sealed with; while it is being replaced, of both, the new one "
        "first.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line kept.")
    log_format: Literal["console", "json"] = Field("console", description="Log lines for people, or JSON objects.")
    insecure_open: bool = Field(
        default=False, description="Listen beyond loopback although nothing authenticates clients yet."
    )

    @field_validator("store")
    @classmethod
    def _is_or_may_become_a_directory(cls, path: Path) -> Path:
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is not a directory")
        return path.absolute()  # workers may start elsewhere

    @field_validator("trusted_keys", "seal_key")
    @classmethod
    def _holds_keys(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        keys = TrustedKeys if info.field_name == "trusted_keys" else SealKeys
        if path is not None:
            try:
                keys.load(path)
            except KeyUnusable as error:
                raise ValueError(str(error)) from None
        return path

    @field_validator("state_dir", "trusted_keys", "seal_key")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    def environment(self) -> dict[str, str]:
        """Give the variables from which a worker reads the very same settings."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {variable_of(name): str(value) for name, value in values.items()}


def variable_of(field: str) -> str:
    """Give the environment variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def option_of(field: str) -> str:
    """Give the command-line option of a setting."""
    return f"--{field.replace('_', '-')}"


def load_settings(options: Mapping[str, object] | None = None) -> ServiceSettings:
    """Read the settings: `options` (None values left out) over the environment over the defaults.

    Raises BadSettings that names each option or variable and what is wrong with it.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    try:
        return ServiceSettings(**given)  # type: ignore[arg-type]  # pydantic checks what came from outside
    except ValidationError as error:
        raise BadSettings("\n".join(_complaint(e["loc"], e["type"], e["msg"]) for e in error.errors())) from None


def _complaint(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    field = str(loc[0]) if loc else "settings"
    said = "is missing" if kind == "missing" else message.removeprefix("Value error, ")
    return f"{option_of(field)} or {variable_of(field)}: {said}"
