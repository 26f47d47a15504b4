"""Ends a worker whose parent is gone.

A parent that was killed outright leaves its workers serving, on a port that then cannot be had again and out of
anyone's control.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """Have this process end gracefully when the process that spawned it does; nothing in a process of its own."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="hashwacht-parent", daemon=True).start()
