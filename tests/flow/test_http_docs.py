from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.snapshots import live_store, random_entries
from tests.service_process import ServiceProcess, running_service

CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--virtual-time-budget=20000",
)  # fmt: skip
FOREIGN = re.compile(r"(?:https?:)?//(?!127\.0\.0\.1)[a-z0-9.-]+", re.IGNORECASE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    made = live_store(tmp_path_factory.mktemp("docs") / "store", random_entries(10))
    with running_service(made.store, workers=1) as service:
        yield service


def test_the_page_names_no_other_host_and_has_no_inline_script(service: ServiceProcess) -> None:
    page = service.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    text = page.body.decode()
    assert not FOREIGN.search(text)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", text) == ["", ""]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'self';" in policy
    assert not FOREIGN.search(policy)
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        if not address.startswith("data:"):
            assert service.get(f"/{address}").status == 200, address
    assert not FOREIGN.search(service.get("/docs/start.js").body.decode())


def test_the_description_names_no_other_host(service: ServiceProcess) -> None:
    assert not FOREIGN.search(service.get("/openapi.json").body.decode())


@pytest.mark.browser
def test_a_browser_shows_all_operations_without_internet(service: ServiceProcess, tmp_path: Path) -> None:
    words = [
        *CHROMIUM,
        f"--user-data-dir={tmp_path}",
        "--enable-logging=stderr",
        "--v=0",
        "--dump-dom",
        f"{service.url}/docs",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    shown = set(re.findall(r'data-path="([^"]+)"', done.stdout))
    assert shown == {"/v1/match", "/v1/snapshot", "/livez", "/readyz"}
    assert "Content Security Policy" not in done.stderr, done.stderr
