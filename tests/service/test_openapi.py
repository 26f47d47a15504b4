from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.app import Application
from service.openapi import EXAMPLES
from service.problems import REASONS
from service.settings import load_settings
from snapshot.algorithms import ALGORITHMS


@pytest.fixture
def described(tmp_path: Path) -> Any:
    return Application(load_settings({"store": tmp_path, "max_digests": 77}))._rest.openapi()


def test_it_covers_every_route_in_front_and_behind(described: Any) -> None:
    assert {path: set(item) for path, item in described["paths"].items()} == {
        "/v1/match": {"post"}, "/v1/snapshot": {"get"}, "/livez": {"get"}, "/readyz": {"get"},
    }  # fmt: skip
    assert described["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere(described: Any) -> None:
    schemas = described["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert named <= set(schemas)
    assert {"ColumnsReply", "FilesReply", "ProblemReply"} <= named


def test_match_has_its_forms_limits_and_statuses(described: Any) -> None:
    operation = described["paths"]["/v1/match"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", "application/octet-stream"}
    by_column, by_file = content["application/json"]["schema"]["oneOf"]
    assert set(by_column["properties"]) == set(ALGORITHMS)
    assert by_column["properties"]["md5"]["maxItems"] == by_file["properties"]["files"]["maxItems"] == 77
    assert set(by_file["properties"]["files"]["items"]["properties"]) == {"ref", *ALGORITHMS}
    assert operation["parameters"][0]["schema"]["enum"] == list(ALGORITHMS)
    of_match = {status for reason, status in REASONS.items() if reason not in {"not_found", "invalid_request"}}
    assert set(operation["responses"]) == {"200", "503", *map(str, of_match)}


def test_every_reason_is_named_at_its_status(described: Any) -> None:
    responses = described["paths"]["/v1/match"]["post"]["responses"]
    for reason, status in REASONS.items():
        if reason not in {"not_found", "invalid_request", "method_not_allowed"}:
            assert reason in responses[str(status)]["description"], reason


def test_examples_fit_their_schema(described: Any) -> None:
    operation = described["paths"]["/v1/match"]["post"]
    by_column, by_file = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    for name, texts in EXAMPLES["by_column"]["value"].items():
        assert all(re.fullmatch(by_column["properties"][name]["items"]["pattern"], text) for text in texts)
    properties = by_file["properties"]["files"]["items"]["properties"]
    for file in EXAMPLES["by_file"]["value"]["files"]:
        for name, text in file.items():
            assert re.fullmatch(properties[name].get("pattern", ".*"), text)
