"""Health: `/healthz` says that the process is alive, `/readyz` whether every worker and the store serve."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.control.gate import Gate
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


async def store_answers(metadata: MetadataStore) -> bool:
    """Whether the store answers the simplest question soon enough."""
    try:
        async with asyncio.timeout(STORE_PATIENCE):
            await metadata.get_revision()
    except (StorageError, TimeoutError):
        return False
    return True


routes = [Route("/healthz", healthz, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]
