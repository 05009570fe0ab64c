"""Health: `/healthz` says that the process is alive, `/readyz` whether every worker and the store serve, `/metrics` how
they fare. They want no key."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.control.gate import Gate
from server.metrics import CONTENT_TYPE
from storage.errors import StorageError
from storage.metadata import MetadataStore

STORE_PATIENCE = 1.0  # seconds


async def healthz(request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """200 or 503, with the same facts: the store and each worker."""
    gate: Gate = request.app.state.gate
    readiness = gate.config.readiness()
    reachable = await store_answers(gate.metadata)
    ready = readiness.ready and reachable
    facts = {
        "status": "ready" if ready else "not ready",
        "store": "reachable" if reachable else "unreachable",
        "workers": dict(readiness.workers),
        "visitors": gate.config.visitors,
    }
    return JSONResponse(facts, 200 if ready else 503)


async def metrics(request: Request) -> Response:
    """The metrics, made in a thread: this loop may be one that visitors wait for."""
    gate: Gate = request.app.state.gate
    text = await asyncio.to_thread(gate.config.metrics.render)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


async def store_answers(metadata: MetadataStore) -> bool:
    """Whether the store answers the simplest question soon enough."""
    try:
        async with asyncio.timeout(STORE_PATIENCE):
            await metadata.get_revision()
    except (StorageError, TimeoutError):
        return False
    return True


routes = [
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
]


_HEADERS = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", "Cache-Control")}
_JSON = "application/json"
_READY = {
    "status": "ready",
    "store": "reachable",
    "workers": {"worker-0": "serving"},
    "visitors": "http://127.0.0.1:8080",
}


def _answer(meaning: str, media_type: str, example: str | dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "string" if isinstance(example, str) else "object", "examples": [example]}
    return {"description": meaning, "headers": _HEADERS, "content": {media_type: {"schema": schema}}}


def _describe(name: str, summary: str, description: str, answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A path of the OpenAPI document; `answers` by status."""
    facts = {"operationId": name, "summary": summary, "description": description, "tags": ["Health"], "security": []}
    return {"get": {**facts, "responses": {**answers, "500": {"$ref": "#/components/responses/InternalServerError"}}}}


OPENAPI = {
    "/healthz": _describe(
        "healthz", "Is it alive?", "Whether this process answers.", {"200": _answer("Yes", _JSON, {"status": "alive"})}
    ),
    "/readyz": _describe(
        "readyz",
        "Is it ready?",
        "Whether every worker serves and the store can be reached, with the state of each.",
        {
            "200": _answer("Yes", _JSON, _READY),
            "503": _answer("No", _JSON, {**_READY, "status": "not ready", "workers": {"worker-0": "starting"}}),
        },
    ),
    "/metrics": _describe(
        "metrics",
        "How does it fare?",
        "Counters and gauges in the text format of Prometheus: answers by site and class of status, caches, "
        "connections, revisions, processes, and the calls of this API.",
        {"200": _answer("Yes", "text/plain", 'spacelane_serving{process="worker-0"} 1.0\n')},
    ),
}
