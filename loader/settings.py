"""What a compile takes from the environment; an option on the command line goes before.

HASHWACHT_STORE is not here: it is the `--store` option's own variable, since every command has that one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "HASHWACHT_"


class LoaderSettings(BaseSettings):
    """What the loader takes from HASHWACHT_… variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    memory_mib: int = Field(
        default=1024,
        ge=64,
        le=1 << 20,
        description="Memory that a compile may use for sorting, in MiB; beyond it, disk.",
    )
    false_positive_rate: float = Field(
        default=0.001,
        ge=1e-9,
        le=0.1,
        description="Share of unlisted digests that pass the Bloom filter and cost a look-up.",
    )
    signing_key: Path | None = Field(
        default=None,
        description="File of the private key that signs what goes live; see `hashwacht keys`.",
    )
    seal_key: Path | None = Field(
        default=None,
        description="File of the key that digests are sealed with in the store; see `hashwacht keys`.",
    )
    max_bad_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of a list's lines or records that may be malformed; more, and nothing is published. "
        "Without it 0.0001 of the lines, and no record.",
    )
