"""What a worker serves right now: the View, and what was refused since.

The one place that the watch writes and requests read. All of it happens in the event loop's thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.problems import not_ready
from service.view import View
from snapshot.errors import SnapshotError


@dataclass(frozen=True, slots=True)
class Refusal:
    """A CURRENT that was not taken over: the stable reason, words for people, the generation if readable."""

    reason: str
    message: str
    generation: int | None


class Live:
    """The View in force (None: not ready) and the last refusal (None: CURRENT is what is served)."""

    __slots__ = ("refusal", "view")

    def __init__(self) -> None:
        self.view: View | None = None
        self.refusal: Refusal | None = None

    def require_view(self) -> View:
        """Give the View, or raise the 503 that says why there is none."""
        view = self.view
        if view is not None:
            return view
        if self.refusal is not None:
            raise not_ready(self.refusal.reason, self.refusal.message)
        raise not_ready("starting", "the snapshot is being verified and opened; ask again in a moment")

    def checked_view(self) -> View:
        """Give the View after looking its canary up; raise a 503 Problem when there is none or the canary fails."""
        view = self.require_view()
        try:
            view.snapshot.check_canary()
        except SnapshotError as error:
            raise not_ready(error.reason, str(error)) from error
        return view
