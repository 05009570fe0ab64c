"""The OpenAPI document: what FastAPI makes of the endpoints, and what is true of all of them.

1. every status that an operation can answer, with its headers: `refusals_of` tells which, from what the operation takes
2. an example of each body, each answer and each parameter
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from server.control.errors import CODES, SITES_PREFIX, sites_codes
from server.control.examples import EXAMPLES, PARAMETERS
from server.control.forms import JSON, JSONL

SECURITY_SCHEME = "secretKey"
SECRET = "x-secret"  # the answer holds a secret, which is not kept to be given again
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
MAX_KEY = 255  # characters


class _Refusal(NamedTuple):
    name: str
    description: str
    headers: tuple[str, ...] = ()


REFUSALS: Mapping[int, _Refusal] = {
    400: _Refusal("BadRequest", "Something in the path, query or body cannot be taken; `details` say what and why."),
    401: _Refusal(
        "Unauthorized",
        "No key or token, or none that counts; or the space is another workspace's.",
        ("WWW-Authenticate",),
    ),
    403: _Refusal("Forbidden", "The key or token may not do this; or the link is not valid, or over."),
    404: _Refusal("NotFound", "What the path names does not exist."),
    409: _Refusal("Conflict", "Somebody has it already, or it changed meanwhile. Nothing was done."),
    412: _Refusal("PreconditionFailed", "The file is not as the request's precondition wants it."),
    413: _Refusal("PayloadTooLarge", "The body is larger than this call takes."),
    415: _Refusal("UnsupportedMediaType", f"The body is not sent as {JSON}."),
    416: _Refusal("RangeNotSatisfiable", "The file has no such range.", ("Content-Range",)),
    429: _Refusal("TooManyRequests", "A limit of the workspace is used up, or calls come too fast.", ("Retry-After",)),
    500: _Refusal("InternalServerError", "Something went wrong here; the X-Request-Id finds it in the log."),
    503: _Refusal("ServiceUnavailable", "The store cannot be reached now, or is full.", ("Retry-After",)),
}

SUCCESSES: Mapping[int, tuple[str, tuple[str, ...]]] = {
    200: ("Done; or, of a reading call, what was asked for.", ()),
    201: ("Created.", ()),
    204: ("Done; there is nothing to tell.", ()),
    206: ("The ranges that were asked for.", ("Content-Range", "ETag", "Last-Modified")),
    304: ("The caller has the file as it is.", ("ETag",)),
}

_EVERYWHERE = ("X-Request-Id", "Cache-Control", "RateLimit-Policy", "RateLimit")
_HEADERS: Mapping[str, tuple[str, str]] = {
    "X-Request-Id": (
        "Names the request in the server's log; a caller's own is kept.",
        "b1946ac92492d2347c6235b4d2611184",
    ),
    "Cache-Control": ("Answers are for their caller, and for now.", "no-store"),
    "RateLimit-Policy": ("Of calls with a key: q are allowed in w seconds.", '"key";q=60000;w=60'),
    "RateLimit": ("Of calls with a key: r are left, and there are more in t seconds.", '"key";r=59999;t=60'),
    IDEMPOTENCY_REPLAYED: ("The answer is that of an earlier call.", "true"),
    "X-Cursor": ("With `take`: the cursor of the next page; empty at the end.", "c3BhY2U6c3BhY2VfMQ"),
    "WWW-Authenticate": ("How to say who calls.", "Bearer"),
    "Retry-After": ("Seconds after which to try again, if trying again helps.", "1"),
    "Content-Range": ("Which bytes of how many.", "bytes 0-99/1024"),
    "ETag": ("Names this content.", '"2cf24dba5fb0a30e26e83b2ac5b9e29e"'),
    "Last-Modified": ("When the file changed.", "Sun, 22 Nov 2026 10:00:00 GMT"),
}


class _Api(NamedTuple):
    """How one of the two APIs refuses: what its components' names begin with, its schema, envelope, and codes."""

    prefix: str
    schema: str
    envelope: Mapping[str, Any]
    codes: Mapping[str, tuple[int, ...]]


_SPACES = _Api("", "ErrorView", {}, CODES)
_SITES = _Api(
    "Sites",
    "SitesErrorView",
    {"success": False},
    sites_codes(),
)
_APIS = (_SPACES, _SITES)


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with what it cannot know; changed in place."""
    components = document["components"]
    components["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key, or a token, that has the scope",
        }
    }
    components["headers"] = {name: _header(*facts) for name, facts in _HEADERS.items()}
    components["responses"] = {
        f"{api.prefix}{refusal.name}": _refusal(status, api) for api in _APIS for status, refusal in REFUSALS.items()
    }
    for name, schema in components["schemas"].items():
        if (example := _example(name)) is not None:
            schema["examples"] = [example]
    for path, methods in document["paths"].items():
        api = _SITES if path.startswith(f"{SITES_PREFIX}/") else _SPACES
        for operation in methods.values():
            _offer_repetition(operation)
            _complete_parameters(operation)
            _complete_answers(operation, api)
    return document


def operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every operation's facts."""
    for methods in document["paths"].values():
        yield from methods.values()


def refusals_of(operation: Mapping[str, Any]) -> set[int]:
    """The statuses other than success that it can answer, those it declares itself included."""
    statuses = {400, 500, 503, *(int(status) for status in operation["responses"] if status.isdecimal())}
    if operation["security"]:
        statuses |= {401, 403, 429}
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        statuses.add(404)
    if body := operation.get("requestBody"):
        statuses.add(413)
        if set(body["content"]) == {JSON}:
            statuses.add(415)
    if is_repeatable(operation):
        statuses.add(409)
    return statuses & REFUSALS.keys()


def is_repeatable(operation: Mapping[str, Any]) -> bool:
    """Whether it heeds an Idempotency-Key: it takes JSON and nothing else, and answers with no secret."""
    return set(operation.get("requestBody", {}).get("content", ())) == {JSON} and not operation.get(SECRET)


def _offer_repetition(operation: dict[str, Any]) -> None:
    if is_repeatable(operation):
        operation.setdefault("parameters", []).append(
            {
                "name": IDEMPOTENCY_KEY,
                "in": "header",
                "required": False,
                "description": "Yours for this call: within 24 hours, the same with the same body has the first answer",
                "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
            }
        )


def _complete_answers(operation: dict[str, Any], api: _Api) -> None:
    refusals = {
        str(status): _ref("responses", f"{api.prefix}{REFUSALS[status].name}")
        for status in sorted(refusals_of(operation))
    }
    successes = {}
    for status, (description, headers) in SUCCESSES.items():
        if answer := operation["responses"].get(str(status)):
            more = ("X-Cursor",) if JSONL in answer.get("content", ()) else ()
            if is_repeatable(operation):
                more = (*more, IDEMPOTENCY_REPLAYED)
            successes[str(status)] = {**answer, "description": description, "headers": _headers(*headers, *more)}
    operation["responses"] = {**successes, **refusals}


def _complete_parameters(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        parameter["example"] = PARAMETERS[parameter["name"]]
        schema = parameter["schema"]
        if "anyOf" in schema:  # None stands for a parameter that is not there: nobody can send it
            (given,) = [choice for choice in schema.pop("anyOf") if choice != {"type": "null"}]
            schema.update(given)


def _example(name: str) -> Any:
    if name.startswith("ListView_"):
        item = EXAMPLES[name.removeprefix("ListView_").removesuffix("_")]
        return {"items": [item], "cursor": ""}
    return EXAMPLES.get(name)


def _refusal(status: int, api: _Api) -> dict[str, Any]:
    refusal = REFUSALS[status]
    content = {
        "schema": _ref("schemas", api.schema),
        "examples": {
            code: {"value": {**api.envelope, "error": {"message": refusal.description, "code": code}}}
            for code, statuses in api.codes.items()
            if status in statuses
        },
    }
    return {
        "description": refusal.description,
        "headers": _headers(*refusal.headers),
        "content": {JSON: content},
    }


def _header(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


def _headers(*names: str) -> dict[str, Any]:
    return {name: _ref("headers", name) for name in (*_EVERYWHERE, *names)}


def _ref(kind: str, name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{kind}/{name}"}
