from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.service.snapshots import MadeSnapshot
from tests.service_process import ServiceProcess


@pytest.fixture
def workers_live_on(service: ServiceProcess, made: MadeSnapshot) -> Iterator[None]:
    """After whatever a test did to its module's `service`, the same workers answer the next request."""
    before = set(service.workers)
    yield
    assert set(service.workers) == before
    digest = random.choice(list(made.entries["md5"]))
    assert service.match({"md5": [digest.hex()]})["checked"] == {"md5": 1}
