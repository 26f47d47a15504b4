"""The shapes of the replies, as models: OpenAPI describes them from here, and the tests hold replies to them.

The replies of /v1/match are built as plain dicts (service/match.py), since models would cost more than matching.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snapshot.labels import Tier

ActionName = Literal["block", "review", "log"]
DigestFault = Literal["not_text", "wrong_length", "not_hex"]
AlgorithmName = Literal["md5", "sha1", "sha256", "sha512", "photodna"]
Counts = dict[AlgorithmName, int]

_DIGEST = Field(description="Lower-case hex; photodna in base64.")
_CHECKED = Field(description="Digests looked up, for every algorithm that was sent and is loaded.")
_NOT_LOADED = Field(description="Digests of algorithms for which nothing is loaded: neither listed nor clear.")
_SNAPSHOT_ID = Field(description="The snapshot that every verdict of this reply comes from.")


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelReply(_Reply):
    """Who lists a digest, as what. `reference` is the supplier's own id, where it gave one."""

    list_id: str
    category: str
    tier: Tier
    reference: str | None = None


class ColumnMatch(_Reply):
    """A digest that is listed; `index` is its place in the column, or among the packed digests."""

    algorithm: AlgorithmName
    index: int
    digest: str = _DIGEST
    action: ActionName
    labels: list[LabelReply]


class InvalidDigest(_Reply):
    """An item that is no digest of its column's algorithm."""

    algorithm: AlgorithmName
    index: int
    reason: DigestFault


class ColumnsReply(_Reply):
    """Answer by column or packed: checked + not_loaded + invalid = sent; what is in neither list is clear."""

    snapshot_id: str = _SNAPSHOT_ID
    overlay_version: int
    checked: Counts = _CHECKED
    not_loaded: Counts = _NOT_LOADED
    matches: list[ColumnMatch]
    invalid: list[InvalidDigest]


class MatchedDigest(_Reply):
    """A listed digest of a file."""

    algorithm: AlgorithmName
    digest: str = _DIGEST
    labels: list[LabelReply]


class FileMatch(_Reply):
    """A file with at least one listed digest; `action` is the strongest of them."""

    index: int
    ref: str | None
    action: ActionName
    matched: list[MatchedDigest]


class InvalidFile(_Reply):
    """A file without a verdict. `algorithm` says which digest was malformed."""

    index: int
    ref: str | None
    reason: DigestFault | Literal["not_object", "bad_ref", "unknown_algorithm", "not_checked"]
    algorithm: AlgorithmName | None = None


class FileVerdicts(_Reply):
    """The files' verdicts counted; the sum is the files sent."""

    match: int
    clear: int
    invalid: int


class FilesReply(_Reply):
    """Answer to a request by file: match over invalid over clear."""

    snapshot_id: str = _SNAPSHOT_ID
    overlay_version: int
    checked: Counts = _CHECKED
    not_loaded: Counts = _NOT_LOADED
    files: FileVerdicts
    matches: list[FileMatch]
    invalid: list[InvalidFile]


class ProblemReply(_Reply):
    """RFC 9457. `reason` is the stable word for programs; `detail` names the field, the limit and the remedy."""

    type: Literal["about:blank"]
    title: str
    status: int
    reason: str
    detail: str


class RefusalReply(_Reply):
    """A CURRENT that was not taken over; what was live before still is."""

    reason: str
    message: str
    generation: int | None


class ReadyReply(_Reply):
    """Ready: a listed digest was just followed through filter, store and labels."""

    status: Literal["ready"] = "ready"
    generation: int
    snapshot_id: str
    overlay_version: int
    refused: RefusalReply | None


class AliveReply(_Reply):
    """Alive: the event loop turns."""

    status: Literal["alive"] = "alive"


class ClassReply(_Reply):
    """A class, what it leads to (null: no match), and its digests by algorithm."""

    list_id: str
    category: str
    tier: Tier
    action: ActionName | None
    entries: Counts


class ListReply(_Reply):
    """What was read for one list when the snapshot was compiled."""

    list_id: str
    kind: Literal["known-bad", "known-good"]
    files: int
    lines: int
    digests: int
    refused: int


class SnapshotReply(_Reply):
    """What is served."""

    generation: int
    snapshot_id: str
    overlay_version: int
    issued_at: datetime = Field(description="When this generation was made live.")
    created_at: datetime = Field(description="When the snapshot was compiled.")
    format_version: int
    false_positive_rate: float = Field(
        description="Share of negative lookups that the filters let through to the store."
    )
    algorithms: Counts = Field(description="Entries by algorithm.")
    classes: list[ClassReply]
    lists: list[ListReply]
