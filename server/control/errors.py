"""Every refusal of the control API: which status and code it has, and the one envelope all of them are sent in."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from storage import errors as storage

CODES: dict[str, tuple[int, ...]] = {
    "BAD_REQUEST": (400,),
    "NOT_AUTHENTICATED": (401,),
    "NOT_AUTHORIZED": (401, 403),
    "NOT_FOUND": (404,),
    "METHOD_NOT_ALLOWED": (405,),
    "CONFLICT": (409,),
    "PRECONDITION_FAILED": (412,),
    "PAYLOAD_TOO_LARGE": (413,),
    "UNSUPPORTED_MEDIA_TYPE": (415,),
    "RANGE_NOT_SATISFIABLE": (416,),
    "LIMITS_REACHED": (429,),
    "TOO_MANY_REQUESTS": (429,),
    "INTERNAL_SERVER_ERROR": (500,),
    "SERVICE_UNAVAILABLE": (503,),
}


SITES_PREFIX = "/v1"  # of the Sites API, which has codes and an envelope of its own

# What the Sites API alone has to say, raised by these names; and what it calls the same things.
SITES_OWN_CODES: Mapping[str, tuple[int, ...]] = {
    "plan_limit_reached": (403,),
    "site_id_taken": (409,),
    "domain_taken": (409,),
}
SITES_CODES: Mapping[str, str] = {
    "BAD_REQUEST": "invalid_request",
    "NOT_AUTHENTICATED": "unauthorized",
    "NOT_AUTHORIZED": "insufficient_scope",
    "NOT_FOUND": "not_found",
    "METHOD_NOT_ALLOWED": "method_not_allowed",
    "CONFLICT": "conflict",
    "PAYLOAD_TOO_LARGE": "payload_too_large",
    "UNSUPPORTED_MEDIA_TYPE": "unsupported_media_type",
    "LIMITS_REACHED": "rate_limited",
    "TOO_MANY_REQUESTS": "rate_limited",
    "INTERNAL_SERVER_ERROR": "internal_error",
    "SERVICE_UNAVAILABLE": "unavailable",
}


def sites_codes() -> dict[str, tuple[int, ...]]:
    """Every code of the Sites API, with its statuses."""
    shared: dict[str, tuple[int, ...]] = {}
    for code, statuses in CODES.items():
        if code in SITES_CODES:
            name = SITES_CODES[code]
            shared[name] = tuple(dict.fromkeys((*shared.get(name, ()), *statuses)))
    return {**shared, "insufficient_scope": (403,), **SITES_OWN_CODES}


class _Meaning(NamedTuple):
    status: int
    code: str
    message: str = ""  # "": the exception's own words, which are written for the caller


STORAGE_ERRORS: dict[type[storage.StorageError], _Meaning] = {
    storage.NotFound: _Meaning(404, "NOT_FOUND"),
    storage.Conflict: _Meaning(409, "CONFLICT"),
    storage.Invalid: _Meaning(400, "BAD_REQUEST"),
    storage.TooLarge: _Meaning(413, "PAYLOAD_TOO_LARGE"),
    storage.QuotaExceeded: _Meaning(429, "LIMITS_REACHED"),
    storage.Unavailable: _Meaning(503, "SERVICE_UNAVAILABLE", "The store cannot be reached now: try again in a moment"),
    storage.OutOfSpace: _Meaning(
        503, "SERVICE_UNAVAILABLE", "The server's disk is full: whoever runs it has to make room"
    ),
    storage.Corrupt: _Meaning(500, "INTERNAL_SERVER_ERROR", "What is kept is damaged: tell whoever runs this server"),
}
UNEXPECTED = _Meaning(500, "INTERNAL_SERVER_ERROR", "Something went wrong here; the X-Request-Id finds it in the log")

ROUTING_ERRORS: dict[int, _Meaning] = {
    404: _Meaning(404, "NOT_FOUND", "There is no such endpoint: see /docs"),
    405: _Meaning(405, "METHOD_NOT_ALLOWED", "This endpoint takes only the methods that Allow names"),
}

# pydantic's words where they would not tell an operator what to do.
VALIDATION_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "model_attributes_type": "must be a JSON object",
    "model_type": "must be a JSON object",
}
MAX_DETAILS = 100  # a body of a million unknown fields gets a short answer all the same
MAX_ECHO = 256  # characters of a caller's own text

RETRY_AFTER_SECONDS = "1"


@dataclass(frozen=True, slots=True)
class Detail:
    """What is wrong with one field of a body or query, by its path, such as `meta.key`."""

    path: str
    message: str


class ApiError(Exception):
    """A refusal in its final form: `status` and `code` (one of `CODES`), `details` for a bad body or query."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Detail] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers


def not_authenticated(message: str) -> ApiError:
    """No credential, or one that does not count."""
    return ApiError(401, "NOT_AUTHENTICATED", message)


def details_of(errors: Iterable[Mapping[str, Any]], *, skip: int = 1) -> list[Detail]:
    """pydantic's errors as details; the first `skip` parts of a place ("body", "query") are not part of its path."""
    details: list[Detail] = []
    for error in errors:
        path = ".".join(str(part) for part in error["loc"][skip:] if part != "[key]") or "body"
        message = VALIDATION_MESSAGES.get(error["type"]) or str(error["msg"])
        details.append(Detail(path[:MAX_ECHO], message))
        if len(details) == MAX_DETAILS:
            break
    return details


def bad_request(details: Sequence[Detail]) -> ApiError:
    """400 whose message is the first of `details`, so that it says something to who reads only that."""
    first = details[0]
    return ApiError(400, "BAD_REQUEST", f"{first.path}: {first.message}", details=details)


def is_of_sites(request: Request) -> bool:
    """Whether the request is for the Sites API, be its path an endpoint's or not."""
    path: str = request.scope["path"]
    return path == SITES_PREFIX or path.startswith(f"{SITES_PREFIX}/")


def render(request: Request, error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for `error`, in the envelope of the API that was asked. Keys of the `sdk` dialect also get message and
    code at the top level, and so does whoever is not known, who may expect either."""
    of_sites = is_of_sites(request)
    code = SITES_CODES.get(error.code, error.code) if of_sites else error.code
    body: dict[str, Any] = {"message": error.message, "code": code}
    envelope: dict[str, Any] = {
        "error": {**body, "details": [asdict(detail) for detail in error.details]} if error.details else body
    }
    if of_sites:
        envelope = {"success": False, **envelope}
    elif getattr(request.state, "sdk", error.code == "NOT_AUTHENTICATED"):
        envelope |= body
    answer = JSONResponse(envelope, error.status, headers=headers)
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 §15.5.2
    return answer


async def on_api_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ApiError)
    return render(request, exc, exc.headers)


async def on_storage_error(request: Request, exc: Exception) -> Response:
    meaning = next((STORAGE_ERRORS[cls] for cls in type(exc).__mro__ if cls in STORAGE_ERRORS), UNEXPECTED)
    if isinstance(exc, storage.OutOfSpace):
        _log(request, failure=str(exc))  # where it happened says nothing about a disk
    elif meaning.status >= 500:
        log_failure(request, exc)
    if isinstance(exc, storage.Invalid):
        return render(request, bad_request([Detail(exc.field, str(exc))]))
    passes = meaning is STORAGE_ERRORS[storage.Unavailable]
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if passes else None
    return render(request, ApiError(meaning.status, meaning.code, meaning.message or str(exc)), headers)


async def on_validation_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    return render(request, bad_request(details_of(exc.errors())))


async def on_routing_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    meaning = ROUTING_ERRORS.get(exc.status_code, UNEXPECTED)
    headers = exc.headers
    if exc.status_code == 405 and is_of_sites(request):  # where several endpoints have one path; a route knows its own
        headers = {"Allow": ", ".join(request.app.state.sites_methods(request.scope["path"]))}
    return render(request, ApiError(meaning.status, meaning.code, meaning.message), headers)


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    ApiError: on_api_error,
    storage.StorageError: on_storage_error,
    RequestValidationError: on_validation_error,
    HTTPException: on_routing_error,
}


async def answer_refusal(request: Request, exc: Exception) -> Response:
    """What the application answers for `exc`, of one of the kinds in `HANDLERS`."""
    return await next(HANDLERS[cls] for cls in type(exc).__mro__ if cls in HANDLERS)(request, exc)


def on_unexpected(request: Request, exc: Exception) -> Response:
    """500 that tells the caller nothing but where to look; the log gets the rest."""
    log_failure(request, exc)
    return render(request, ApiError(UNEXPECTED.status, UNEXPECTED.code, UNEXPECTED.message))


def log_failure(request: Request, exc: Exception) -> None:
    # As plain text: a renderer that prints local variables would print secrets.
    _log(request, traceback="".join(traceback.format_exception(exc)))


def _log(request: Request, **facts: str) -> None:
    log = structlog.get_logger("spacelane.control")
    where = {"request_id": request.state.request_id, "method": request.method, "path": request.url.path}
    log.error("control.failure", **where, **facts)
