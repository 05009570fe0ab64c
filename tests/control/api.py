"""The control API under the real server on loopback, and a client that speaks to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from server.control.auth import SCOPES, hash_secret
from server.control.errors import SITES_CODES, SITES_PREFIX
from storage.blobs import BlobStore
from storage.ids import new_secret
from storage.metadata import MetadataStore
from storage.models import Dialect, Millis, NewKey

ROOT_SECRET = "sk-the-root-key-of-every-test"
WORKSPACE = "workspace_default"
OTHER_WORKSPACE = "workspace_other"

# For what is judged before any store is asked.
one_store = pytest.mark.parametrize("stores", ["memory"], indirect=True)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[uvicorn.Server]:
    """`app` behind uvicorn, on 127.0.0.1."""
    config = uvicorn.Config(app, log_config=None, lifespan="on", http="httptools", ws="none")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # With the protocol named, asyncio turns Nagle's algorithm off for what it accepts: 40 ms an answer otherwise.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        await server.startup(sockets=[sock])
        try:
            yield server
        finally:
            for listener in server.servers:
                listener.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.gather(*server.server_state.tasks)
            await server.lifespan.shutdown()


def port_of(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


@dataclass
class Api:
    """Calls the API as the root key unless told otherwise."""

    server: uvicorn.Server
    http: httpx.AsyncClient
    metadata: MetadataStore
    blobs: BlobStore
    secret: str = ROOT_SECRET

    @property
    def port(self) -> int:
        return port_of(self.server)

    async def settled(self) -> None:
        """Returns when no request is under way."""
        await asyncio.gather(*self.server.server_state.tasks)

    async def call(
        self, method: str, path: str, *, key: str | None = None, headers: dict[str, str] | None = None, **extra: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.secret}"} | (headers or {})
        url = path if path.startswith("/") else f"/api/v1/{path}"
        return await self.http.request(method, url, headers=headers, **extra)

    async def get(self, path: str, **extra: Any) -> httpx.Response:
        return await self.call("GET", path, **extra)

    async def post(self, path: str, json: Any = None, **extra: Any) -> httpx.Response:
        if json is None and "content" in extra:
            return await self.call("POST", path, **extra)
        return await self.call("POST", path, json={} if json is None else json, **extra)

    async def created(self, path: str, json: Any = None, **extra: Any) -> str:
        """The id that a successful call answers."""
        answer = await self.post(path, json, **extra)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def fetched(self, path: str, **extra: Any) -> Any:
        answer = await self.get(path, **extra)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def space(self, **fields: Any) -> str:
        return await self.created("space/create", fields)

    async def site(self, space_id: str, domain: str = "one.localhost", **fields: Any) -> str:
        return await self.created(f"space/{space_id}/site/create", {"domain": domain, **fields})

    async def upload(self, space_id: str, path: str, content: bytes = b"content") -> str:
        return await self.created(f"space/{space_id}/storage/upload/{path}", content=content)

    async def paths(self, space_id: str) -> list[str]:
        """Every file of the space."""
        listed = await self.fetched(f"space/{space_id}/storage/list?recursive=true&take=100")
        return [item["path"] for item in listed["items"]]

    async def key(
        self,
        *scopes: str,
        workspace: str = WORKSPACE,
        dialect: Dialect = "spacelane",
        expires_at: Millis | None = None,
    ) -> str:
        """A new key's secret, with all scopes if none is given."""
        secret = new_secret()
        await self.metadata.put_workspace(workspace, workspace)
        await self.metadata.create_key(
            NewKey(
                workspace_id=workspace,
                name="test",
                secret_hash=hash_secret(secret.encode()),
                scopes=frozenset(scopes) or SCOPES,
                dialect=dialect,
                expires_at=expires_at,
            )
        )
        return secret


def refused(answer: httpx.Response, status: int, code: str, *paths: str) -> str:
    """The message of a refusal of exactly this form, with details for these `paths`. The Sites API has its own
    form, and its own word for each `code`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    if answer.url.path.startswith(SITES_PREFIX):
        assert answer.json() == {"success": False, "error": answer.json()["error"]}
        code = SITES_CODES.get(code, code)
    error = answer.json()["error"]
    assert error["code"] == code
    assert [detail["path"] for detail in error.get("details", [])] == list(paths)
    assert set(error) == ({"message", "code", "details"} if paths else {"message", "code"})
    assert all(detail["message"] for detail in error.get("details", []))
    return str(error["message"])
