"""The control API as one ASGI application."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from server.control import (
    audit,
    deployment_blobs,
    deployments,
    diff,
    errors,
    explain,
    files,
    health,
    keys,
    previews,
    reference,
    sites,
    spaces,
    upload,
    widgets,
    workspaces,
)
from server.control.auth import Authenticator
from server.control.config import ControlConfig
from server.control.envelope import API_PREFIX, Envelope
from server.control.errors import SITES_PREFIX
from server.control.gate import Gate
from server.control.openapi import complete
from server.control.rates import Rates
from server.control.views import ErrorView
from server.control.widget_views import SitesErrorView
from storage.blobs import BlobStore
from storage.metadata import MetadataStore

TITLE = "Spacelane control API"
DESCRIPTION = """\
Spaces own files; sites bind domains to spaces. GET reads and POST changes, bodies are JSON, and every call under
/api/v1 wants a secret key: Authorization: Bearer sk-…

The Sites API below /v1 is another one: REST, an envelope of its own, and keys vk_live_… made for it.

Wherever a path takes a space or a site, its id, its alias, and @ with its alias all work. A change is live for visitors
when the call returns. Refusals have one form, and each answer an X-Request-Id that finds it in the server's log.
"""

RESOURCES = (
    spaces.router,
    sites.router,
    explain.router,
    files.router,
    files.signed_router,
    deployments.router,
    deployment_blobs.router,
    upload.router,
    diff.router,
    previews.router,
    keys.router,
    workspaces.router,
    audit.router,
)


def _name_operation(route: APIRoute) -> str:
    return to_camel(route.name)


def _gather() -> APIRouter:
    api = APIRouter(generate_unique_id_function=_name_operation)
    for router in RESOURCES:
        api.include_router(
            router, prefix=API_PREFIX, responses={"default": {"model": ErrorView, "description": "A refusal"}}
        )
    api.include_router(
        widgets.router,
        prefix=SITES_PREFIX,
        responses={"default": {"model": SitesErrorView, "description": "A refusal"}},
    )
    return api


# Once for all applications: FastAPI works out what each endpoint takes when it is first called, which is a tenth of a
# second in all, and keeps it here.
API = _gather()


def create_app(metadata: MetadataStore, blobs: BlobStore, config: ControlConfig) -> FastAPI:
    """The application over these stores; the caller opened them and closes them."""
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version="1",
        openapi_url=None,  # the stock reference loads scripts from elsewhere; ours is below
        redirect_slashes=False,
        generate_unique_id_function=_name_operation,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.gate = Gate(
        metadata=metadata,
        blobs=blobs,
        config=config,
        rates=Rates(config.clock),
        authenticator=Authenticator(metadata, config),
    )
    app.state.sites_methods = widgets.methods_of
    app.add_middleware(Envelope, metrics=config.metrics)
    for kind, handler in errors.HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.router.routes += [*API.routes, *health.routes, *_reference_routes(app)]
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. The paths of health are no endpoints of FastAPI's, and tell everything themselves."""
    document = complete(app.openapi())
    return {**document, "paths": document["paths"] | health.OPENAPI}


def _reference_routes(app: FastAPI) -> list[Route]:
    """`/openapi.json` and `/docs`, each made when it is first asked for."""

    @cache
    def document() -> dict[str, Any]:
        return describe(app)

    @cache
    def page() -> str:
        return reference.render(document())

    async def openapi(request: Request) -> Response:
        return JSONResponse(document())

    async def docs(request: Request) -> Response:
        return HTMLResponse(page(), headers={"Content-Security-Policy": reference.CONTENT_SECURITY_POLICY})

    return [Route("/openapi.json", openapi), Route("/docs", docs)]
