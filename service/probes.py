"""GET /livez, /readyz and /v1/snapshot: what operators and their orchestrators ask.

Alive is not ready. /livez fails only when the event loop no longer turns: restarting helps then. /readyz fails when
no verdict can be given: restarting would not help, but requests belong elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from fastapi import FastAPI, Response

from service.live import Live
from service.problems import CONTENT_TYPE
from service.replies import (
    AliveReply,
    ClassReply,
    ListReply,
    ProblemReply,
    ReadyReply,
    RefusalReply,
    SnapshotReply,
)
from snapshot.labels import LabelClass

_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "Not ready: `reason` says why.",
        "content": {CONTENT_TYPE.decode(): {"schema": ProblemReply.model_json_schema()}},
    }
}


def add_probes(app: FastAPI, live: Live) -> None:
    """Add the three routes. None awaits while it holds a View."""

    @app.get("/livez", tags=["operation"], summary="Is the process alive?")
    async def livez(response: Response) -> AliveReply:
        response.headers["Cache-Control"] = "no-store"
        return AliveReply()

    @app.get("/readyz", tags=["operation"], summary="Can verdicts be given?", responses=_NOT_READY)
    async def readyz(response: Response) -> ReadyReply:
        response.headers["Cache-Control"] = "no-store"
        view = live.checked_view()
        refusal = live.refusal
        return ReadyReply(
            generation=view.generation,
            snapshot_id=view.snapshot_id,
            overlay_version=view.overlay_version,
            refused=RefusalReply(**asdict(refusal)) if refusal else None,
        )

    @app.get("/v1/snapshot", tags=["operation"], summary="What is served?", responses=_NOT_READY)
    async def snapshot(response: Response) -> SnapshotReply:
        response.headers["Cache-Control"] = "no-store"
        view = live.require_view()
        manifest = view.snapshot.manifest
        return SnapshotReply(
            generation=view.generation,
            snapshot_id=view.snapshot_id,
            overlay_version=view.overlay_version,
            issued_at=view.issued_at,
            created_at=manifest.created_at,
            format_version=manifest.format_version,
            false_positive_rate=manifest.false_positive_rate,
            algorithms={name: facts.entries for name, facts in manifest.algorithms.items()},
            classes=[
                ClassReply(
                    action=view.policy.action(LabelClass(facts.list_id, facts.category, facts.tier)),
                    **facts.model_dump(include=set(ClassReply.model_fields)),
                )
                for facts in manifest.classes
            ],
            lists=[ListReply(**facts.model_dump(include=set(ListReply.model_fields))) for facts in manifest.lists],
        )
