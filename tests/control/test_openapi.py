"""The OpenAPI document: every status, header and example."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from server.control.app import create_app, describe
from server.control.config import ControlConfig
from server.control.errors import CODES, ROUTING_ERRORS
from server.control.openapi import REFUSALS, operations
from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata

DOCUMENT = describe(create_app(MemoryMetadata(), MemoryBlobs(), ControlConfig()))
OPERATIONS = {operation["operationId"]: operation for operation in operations(DOCUMENT)}
every_operation = pytest.mark.parametrize("name", OPERATIONS)


def resolve(value: Any) -> Any:
    """What a reference refers to."""
    while "$ref" in value:
        found: Any = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def check(value: Any, schema: Any) -> None:
    """Raises unless `value` is as `schema` wants it."""
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, value)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("listSpaces", {200, 400, 401, 403, 429, 500, 503}),
        ("exportSpaces", {200, 400, 401, 403, 429, 500, 503}),
        ("createSpace", {200, 400, 401, 403, 409, 413, 415, 429, 500, 503}),
        ("fetchSpace", {200, 400, 401, 403, 404, 429, 500, 503}),
        ("deleteSpace", {200, 400, 401, 403, 404, 409, 413, 415, 429, 500, 503}),
        ("updateSite", {200, 400, 401, 403, 404, 409, 413, 415, 429, 500, 503}),
        ("createKey", {200, 400, 401, 403, 404, 413, 415, 429, 500, 503}),
        ("uploadFile", {200, 400, 401, 403, 404, 409, 413, 429, 500, 503}),
        ("downloadFile", {200, 206, 304, 400, 401, 403, 404, 412, 416, 429, 500, 503}),
        ("downloadByLink", {200, 206, 304, 400, 403, 404, 412, 416, 500, 503}),
        ("readyz", {200, 500, 503}),
        ("activateDeployment", {200, 400, 401, 403, 404, 409, 413, 415, 429, 500, 503}),
    ],
)
def test_the_statuses_of_an_operation(name: str, statuses: set[int]) -> None:
    assert set(OPERATIONS[name]["responses"]) == {str(status) for status in statuses}


def test_every_code_has_a_place() -> None:
    told = {code: tuple(status for status in statuses if status in REFUSALS) for code, statuses in CODES.items()}
    # A wrong method is not an operation's answer.
    assert {code for code, statuses in told.items() if not statuses} == {ROUTING_ERRORS[405].code}
    assert {status for statuses in told.values() for status in statuses} == set(REFUSALS)


@every_operation
def test_every_answer_has_its_headers_and_an_example(name: str) -> None:
    for status, answer in OPERATIONS[name]["responses"].items():
        answer = resolve(answer)
        assert answer["description"]
        assert {"X-Request-Id", "Cache-Control"} <= answer["headers"].keys()
        for header in answer["headers"].values():
            assert {"description", "schema", "example"} <= resolve(header).keys()
        if content := answer.get("content", {}).get("application/json"):
            examples = [each["value"] for each in content.get("examples", {}).values()]
            examples += resolve(content["schema"]).get("examples", [])
            assert examples, status
            for example in examples:
                check(example, content["schema"])


@every_operation
def test_every_parameter_and_body_has_an_example(name: str) -> None:
    operation = OPERATIONS[name]
    for parameter in operation.get("parameters", ()):
        assert {"type": "null"} not in parameter["schema"].get("anyOf", ())
        check(parameter["example"], parameter["schema"])
    if content := operation.get("requestBody", {}).get("content", {}).get("application/json"):
        schema = resolve(content["schema"])
        assert schema["examples"]
        for example in schema["examples"]:
            check(example, content["schema"])


def test_headers_of_certain_answers() -> None:
    def headers(name: str, status: int) -> set[str]:
        everywhere = {"X-Request-Id", "Cache-Control", "RateLimit", "RateLimit-Policy"}
        return set(resolve(OPERATIONS[name]["responses"][str(status)])["headers"]) - everywhere

    assert headers("exportSpaces", 200) == headers("listFolder", 200) == {"X-Cursor"}
    assert headers("fetchSpace", 200) == headers("createKey", 200) == headers("uploadBlob", 200) == set()
    assert headers("createSpace", 200) == headers("uploadFile", 200) == {"Idempotency-Replayed"}
    assert headers("downloadFile", 206) == {"Content-Range", "ETag", "Last-Modified"}
    assert headers("downloadFile", 416) == {"Content-Range"}
    assert headers("listSpaces", 401) == {"WWW-Authenticate"}
    assert headers("listSpaces", 429) == headers("listSpaces", 503) == {"Retry-After"}
