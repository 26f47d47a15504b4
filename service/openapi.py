"""What OpenAPI says about POST /v1/match, which FastAPI does not route and so cannot describe itself.

The examples work as they stand: a test posts each of them. Their digests are those of harmless words.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.forms import MAX_REF_CHARACTERS
from service.problems import CONTENT_TYPE, title_of
from service.replies import ColumnsReply, FilesReply, ProblemReply
from service.settings import ServiceSettings
from snapshot.algorithms import ALGORITHMS, Algorithm

Schema = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"

#: What each status of /v1/match means; the `reason` tells more.
_PROBLEMS: Final = {
    400: "The request as a whole cannot be read: malformed_json, not_an_object, empty_object, unknown_column, "
    "not_a_list, mixed_forms, algorithm_missing, algorithm_repeated, algorithm_unknown, packed_length, invalid_http.",
    405: "Only POST.",
    408: "The request did not arrive in time: request_timeout.",
    413: "body_too_large or too_many_digests. Send several requests.",
    415: "content_type or content_encoding.",
    431: "headers_too_large.",
    500: "internal_error.",
    503: 'Not ready: no verdict can be given now. Never take it for "not listed"; ask again after Retry-After.',
}


def _hexdigest(word: str, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, word.encode(), usedforsecurity=False).hexdigest()


#: Request bodies that work as they stand.
EXAMPLES: Final[dict[str, Schema]] = {
    "by_column": {
        "summary": "By column, in bulk",
        "value": {"sha256": [_hexdigest("tulip"), _hexdigest("windmill")], "md5": [_hexdigest("tulip", "md5")]},
    },
    "by_file": {
        "summary": "By file, one verdict for each upload",
        "value": {
            "files": [
                {"ref": "upload-1", "md5": _hexdigest("tulip", "md5"), "sha256": _hexdigest("tulip")},
                {"ref": "upload-2", "sha256": _hexdigest("windmill")},
            ]
        },
    },
}


class DescribedApp(FastAPI):
    """FastAPI, whose description also covers the route in front of it."""

    settings: ServiceSettings

    def openapi(self) -> Schema:
        """Give the OpenAPI document; made once."""
        if self.openapi_schema is None:
            schema = super().openapi()
            models = [(model, "serialization") for model in (ColumnsReply, FilesReply, ProblemReply)]
            _, definitions = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]  # its Literal
            schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
            schema["paths"] = {"/v1/match": {"post": _match_operation(self.settings)}} | schema["paths"]
        assert self.openapi_schema is not None
        return self.openapi_schema


def _match_operation(settings: ServiceSettings) -> Schema:
    columns = {algorithm.name: _column(algorithm, settings) for algorithm in ALGORITHMS.values()}
    by_column: Schema = {
        "title": "ByColumn", "type": "object", "properties": columns, "additionalProperties": False, "minProperties": 1,
    }  # fmt: skip
    file: Schema = {
        "type": "object",
        "properties": {
            "ref": {
                "type": ["string", "null"],
                "maxLength": MAX_REF_CHARACTERS,
                "description": "Handed back as it came.",
            },
            **{algorithm.name: _digest(algorithm) for algorithm in ALGORITHMS.values()},
        },
        "additionalProperties": False,
    }
    by_file: Schema = {
        "title": "ByFile",
        "type": "object",
        "properties": {"files": {"type": "array", "maxItems": settings.max_digests, "items": file}},
        "required": ["files"],
        "additionalProperties": False,
    }
    replies = {"oneOf": [_model("ColumnsReply"), _model("FilesReply")]}
    responses: Schema = {
        "200": {
            "description": "A verdict for every item: match, clear, invalid, or counted in not_loaded.",
            "content": {"application/json": {"schema": replies}},
        }
    }
    for status, description in _PROBLEMS.items():
        responses[str(status)] = {
            "description": f"{title_of(status)}. {description}",
            "content": {CONTENT_TYPE.decode(): {"schema": _model("ProblemReply")}},
        }
    responses["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    responses["405"]["headers"] = {"Allow": {"schema": {"type": "string"}}}
    return {
        "tags": ["match"],
        "operationId": "match",
        "summary": "Ask whether digests are listed",
        "description": (
            "Three forms: JSON by column, JSON by file, or packed raw digests with `?algorithm=`. At most "
            f"{settings.max_digests:,} digests (and files) and {settings.max_body_bytes:,} bytes a request. "
            "One bad item spoils no batch and is never dropped. Digests never stand in the address."
        ),
        "parameters": [
            {
                "name": "algorithm",
                "in": "query",
                "required": False,
                "description": "The algorithm of packed digests: required with application/octet-stream, once.",
                "schema": {"type": "string", "enum": list(ALGORITHMS)},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [by_column, by_file]}, "examples": EXAMPLES},
                "application/octet-stream": {
                    "schema": {
                        "type": "string", "format": "binary",
                        "description": "Raw digests one after the other: "
                        + ", ".join(f"{a.name} {a.digest_bytes} bytes" for a in ALGORITHMS.values()) + ".",
                    }
                },
            },
        },
        "responses": responses,
    }  # fmt: skip


def _model(name: str) -> Schema:
    return {"$ref": _REF.format(model=name)}


def _column(algorithm: Algorithm, settings: ServiceSettings) -> Schema:
    return {"type": "array", "maxItems": settings.max_digests, "items": _digest(algorithm)}


def _digest(algorithm: Algorithm) -> Schema:
    hexadecimal = f"^[0-9a-fA-F]{{{algorithm.hex_length}}}$"
    if algorithm.base64_length is None:
        return {"type": "string", "pattern": hexadecimal}
    return {
        "type": "string",
        "description": f"{algorithm.hex_length} hex digits or {algorithm.base64_length} characters of base64.",
        "anyOf": [{"pattern": hexadecimal}, {"pattern": f"^[0-9a-zA-Z+/]{{{algorithm.base64_length}}}$"}],
    }
