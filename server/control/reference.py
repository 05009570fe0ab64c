"""The reference at `/docs`: the OpenAPI document as one page of HTML that asks nothing of any other server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import Any, NamedTuple

from server.control.auth import ROOT
from server.control.errors import CODES, sites_codes
from server.control.openapi import SECURITY_SCHEME

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

STYLE = files("server.control").joinpath("reference.css").read_text("utf-8")

QUICK_START = """\
export KEY=sk-…
curl -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -d '{"alias": "docs"}' http://127.0.0.1:8081/api/v1/space/create
curl -H "Authorization: Bearer $KEY" --data-binary @index.html \\
  http://127.0.0.1:8081/api/v1/space/docs/storage/upload/index.html
curl -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -d '{"domain": "docs.localhost"}' http://127.0.0.1:8081/api/v1/space/docs/site/create"""

SUCCESSES = ("200", "201", "204")
ERROR_SHAPE = '{"error": {"message": "…", "code": "…", "details": [{"path": "meta.key", "message": "…"}]}}'
SITES_ERROR_SHAPE = (
    '{"success": false, "error": {"code": "…", "message": "…", "details": [{"path": "…", "message": "…"}]}}'
)


class _Operation(NamedTuple):
    tag: str
    name: str
    method: str
    path: str
    facts: Mapping[str, Any]


class _Row(NamedTuple):
    name: str
    kind: str
    note: str


def render(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    groups = [(tag, list(operations)) for tag, operations in groupby(_operations(document), lambda each: each.tag)]
    sections = "".join(
        f"<h2 id='{escape(tag)}'>{escape(tag)}</h2>" + "".join(_article(each, document) for each in operations)
        for tag, operations in groups
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>"
        f"<div class=page>{_navigation(groups)}<main><h1>{escape(info['title'])}</h1>{_prose(info['description'])}"
        f"<p>The same as an <a href=openapi.json>OpenAPI document</a>.</p><pre>{escape(QUICK_START)}</pre>"
        f"{sections}<h2 id=errors>Errors</h2><pre>{escape(ERROR_SHAPE)}</pre>{_codes('Codes', CODES)}"
        f"<p>Of the Sites API:</p><pre>{escape(SITES_ERROR_SHAPE)}</pre>{_codes('Its codes', sites_codes())}"
        "</main></div></html>"
    )


def _operations(document: Mapping[str, Any]) -> Iterator[_Operation]:
    for path, methods in document["paths"].items():
        for method, facts in methods.items():
            yield _Operation(facts["tags"][0], facts["operationId"], method, path, facts)


def _navigation(groups: list[tuple[str, list[_Operation]]]) -> str:
    parts = []
    for tag, operations in groups:
        links = "".join(f"<li><a href='#{each.name}'>{escape(each.facts['summary'])}</a>" for each in operations)
        parts.append(f"<h2>{escape(tag)}</h2><ul>{links}</ul>")
    return f"<nav>{''.join(parts)}<h2>More</h2><ul><li><a href='#errors'>Errors</a></ul></nav>"


def _article(operation: _Operation, document: Mapping[str, Any]) -> str:
    facts = operation.facts
    scopes = [each[SECURITY_SCHEME] for each in facts["security"]]
    tables = [
        _table("Parameters", [_parameter(each, document) for each in facts.get("parameters", [])]),
        *(_media("Body", kind, content, document) for kind, content in _contents(facts.get("requestBody"))),
        *(_media("Answer", kind, content, document) for kind, content in _contents(_success(facts))),
    ]
    note = _prose(facts.get("requestBody", {}).get("description", ""))
    return (
        f"<article id='{operation.name}'><h3>{escape(facts['summary'])}</h3><div class=route>"
        f"<span class='method {operation.method}'>{operation.method.upper()}</span>"
        f"<code>{escape(operation.path)}</code><span class=scope>{_needs(scopes)}</span></div>"
        f"{_prose(facts['description'])}{note}{''.join(tables)}</article>"
    )


def _success(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of an operation that has done what it was asked to."""
    success: Mapping[str, Any] = next(
        facts["responses"][status] for status in SUCCESSES if status in facts["responses"]
    )
    return success


def _needs(scopes: list[list[str]]) -> str:
    """Of the credentials that an operation takes; none if it takes any caller."""
    match scopes:
        case []:
            return "needs no key"
        case [[]]:
            return "needs any key"
        case [[only]] if only == ROOT:
            return "needs the root key"
        case _:
            return f"needs <code>{escape(scopes[0][0])}</code>"


def _contents(holder: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    return list((holder or {}).get("content", {}).items())


def _media(title: str, kind: str, content: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    schema = _resolve(content["schema"], document)
    heading = title if kind == "application/json" else f"{title}, {kind}"
    if "properties" not in schema:
        return f"<h4>{escape(heading)}</h4><p class=soft>{describe(schema, document)}</p>"
    required = schema.get("required", [])
    rows = [
        _Row(name, describe(each, document), _note(each, name in required and title == "Body"))
        for name, each in schema["properties"].items()
    ]
    return _table(heading, rows, _prose(schema.get("description", "")))


def _parameter(parameter: Mapping[str, Any], document: Mapping[str, Any]) -> _Row:
    place = "in the path" if parameter["in"] == "path" else parameter.get("description", "")
    return _Row(parameter["name"], describe(parameter["schema"], document), _inline(place))


def _resolve(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    resolved: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return resolved


def describe(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """A schema in a few words, as HTML."""
    schema = _resolve(schema, document)
    if "anyOf" in schema:
        return " or ".join(describe(each, document) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {describe(schema['items'], document)}"
    if "properties" in schema:
        return "{" + ", ".join(escape(name) for name in schema["properties"]) + "}"
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping) and values:
        return f"object of {describe(values, document)}"
    return escape({"date-time": "time", "binary": "bytes"}.get(schema.get("format", ""), schema.get("type", "any")))


def _note(schema: Mapping[str, Any], required: bool) -> str:
    notes = ["required"] if required else []
    if description := schema.get("description"):
        notes.append(_inline(description))
    notes += [
        f"at most {each['maxLength']} characters" for each in schema.get("anyOf", [schema]) if "maxLength" in each
    ]
    if schema.get("default"):
        notes.append(f"default <code>{escape(str(schema['default']))}</code>")
    return "; ".join(notes)


def _table(heading: str, rows: list[_Row], prose: str = "") -> str:
    if not rows:
        return ""
    body = "".join(f"<tr><td><code>{escape(row.name)}</code><td>{row.kind}<td>{row.note}" for row in rows)
    return f"<h4>{escape(heading)}</h4>{prose}<table>{body}</table>"


def _codes(heading: str, codes: Mapping[str, tuple[int, ...]]) -> str:
    rows = [_Row(code, " or ".join(map(str, statuses)), "") for code, statuses in codes.items()]
    return "<article>" + _table(heading, rows) + "</article>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph.strip())


def _inline(text: str) -> str:
    """Escaped, with `code` marked up."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
