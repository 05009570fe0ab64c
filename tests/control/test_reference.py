"""The reference: an OpenAPI document and a page that both tell all, offline."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from server.control import reference
from tests.control.api import Api, one_store

SHOWN = ("SpaceView", "SiteView", "ActivatedView", "NewSiteConfig", "SiteConfigPatch")


class Page(HTMLParser):
    """The page's text, links and anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "href":
                self.links.append(value or "")
            if name == "id":
                self.anchors.add(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@one_store
async def test_the_page_shows_every_operation_and_field(api: Api) -> None:
    document: dict[str, Any] = (await api.http.get("/openapi.json")).json()
    answer = await api.http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    for path, methods in document["paths"].items():
        assert path in page.words
        for facts in methods.values():
            assert facts["operationId"] in page.anchors
            for scopes in (each["secretKey"] for each in facts["security"]):
                assert {"needs the root key"} <= {*page.words} if scopes == ["root"] else {*scopes} <= {*page.words}
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Fields") or name in SHOWN:
            assert set(schema.get("properties", {})) <= set(page.words)
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= page.anchors
    for code in ("NOT_AUTHENTICATED", "SERVICE_UNAVAILABLE", "plan_limit_reached", "insufficient_scope"):
        assert code in page.words


@one_store
async def test_the_page_asks_nothing_of_anybody(api: Api) -> None:
    answer = await api.http.get("/docs")
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    page = Page(answer.text)
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    assert [link for link in page.links if not link.startswith("#")] == ["openapi.json"]
    assert not re.search(r"url\(|@import|https?://(?!127\.0\.0\.1)", answer.text)


@one_store
async def test_the_document_names_scopes_and_refusals(api: Api) -> None:
    document: dict[str, Any] = (await api.http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["secretKey"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in document["components"]["schemas"]
    without_key = set()
    for path, methods in document["paths"].items():
        for facts in methods.values():
            assert facts["description"]
            if facts["tags"] != ["Health"]:
                (done,) = {"200", "201", "204"} & set(facts["responses"])
                assert {"400", "500"} <= set(facts["responses"])
                assert {"RateLimit", "RateLimit-Policy", "X-Request-Id"} <= {*facts["responses"][done]["headers"]}
            if not facts["security"]:
                without_key.add(path)
    assert without_key == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/space/{spaceId}/storage/signed/{path}",
    }
    assert "Retry-After" in document["components"]["responses"]["TooManyRequests"]["headers"]


def test_text_is_escaped() -> None:
    schema = {"type": "object", "properties": {"<b>": {"type": "string", "default": "<i>"}}, "required": ["<b>"]}
    operation = {
        "tags": ["<t>"],
        "operationId": "x",
        "summary": "<s>",
        "description": "`<d>`",
        "security": [{"secretKey": ["a:b"]}],
        "requestBody": {"content": {"application/json": {"schema": schema}}},
        "responses": {"200": {}},
    }
    document = {"info": {"title": "<x>", "description": "<y>"}, "paths": {"/<x>": {"post": operation}}}
    page = Page(reference.render(document))
    assert not page.tags & {"x", "y", "t", "s", "d", "b", "i"}
    assert {"<x>", "<y>", "<t>", "<s>", "<d>", "/<x>", "<b>", "<i>"} <= set(page.words)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"enum": ["a"]}, "<code>a</code>"),
        ({"type": "object", "additionalProperties": True}, "object"),
        ({}, "any"),
        ({"type": "string", "format": "date-time"}, "time"),
    ],
)
def test_kinds_in_words(schema: dict[str, Any], words: str) -> None:
    assert reference.describe(schema, {}) == words
