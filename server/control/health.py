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


def _describe(name: str, summary: str, description: str, media_type: str, **others: str) -> dict[str, Any]:
    """A path of the OpenAPI document; `others` are answers beside 200, by their number behind an underscore."""
    schema = {"type": "string" if media_type.startswith("text/") else "object"}
    answers = {"200": {"description": "Yes", "content": {media_type: {"schema": schema}}}}
    answers |= {status.strip("_"): {"description": text} for status, text in others.items()}
    facts = {"operationId": name, "summary": summary, "description": description, "tags": ["Health"], "security": []}
    return {"get": {**facts, "responses": answers}}


OPENAPI = {
    "/healthz": _describe("healthz", "Is it alive?", "Whether this process answers.", "application/json"),
    "/readyz": _describe(
        "readyz",
        "Is it ready?",
        "Whether every worker serves and the store can be reached, with the state of each.",
        "application/json",
        _503="No",
    ),
    "/metrics": _describe(
        "metrics",
        "How does it fare?",
        "Counters and gauges in the text format of Prometheus: answers by site and class of status, caches, "
        "connections, revisions, processes, and the calls of this API.",
        "text/plain",
    ),
}
