"""A real OAuth server, Authlib's, that knows some tokens and revokes them (RFC 7009)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload, OAuth2Request
from authlib.oauth2.rfc7009 import RevocationEndpoint
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.control.api import port_of, served


@dataclass
class Client:
    """One that authenticates with a secret, or, without one, only says who it is."""

    secret: str | None

    def check_client_secret(self, secret: str) -> bool:
        return secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == ("none" if self.secret is None else "client_secret_basic")


@dataclass
class Token:
    client: Client

    def check_client(self, client: Client) -> bool:
        return client is self.client


class _Request(OAuth2Request):  # type: ignore[misc]
    """With the form that it was sent."""

    def __init__(self, method: str, uri: str, form: Mapping[str, str], headers: Mapping[str, str]) -> None:
        super().__init__(method, uri, headers=headers)
        self.payload = BasicOAuth2Payload(form)
        self._form = form

    @property
    def form(self) -> Mapping[str, str]:
        return self._form


class _Server(AuthorizationServer):  # type: ignore[misc]
    """Authlib's, for requests that have been read already."""

    def __init__(self, provider: OAuthProvider) -> None:
        super().__init__()
        self.provider = provider
        self.register_endpoint(_Revocation)

    def query_client(self, client_id: str) -> Client | None:
        return self.provider.clients.get(client_id)

    def create_oauth2_request(self, request: _Request) -> _Request:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        return JSONResponse(body, status, dict(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""


class _Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = ("client_secret_basic", "none")

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        self.server.provider.asked.append(token_string)
        tokens: dict[str, Token] = self.server.provider.tokens
        return tokens.get(token_string)

    def revoke_token(self, token: Token, request: _Request) -> None:
        provider = self.server.provider
        provider.tokens = {text: each for text, each in provider.tokens.items() if each is not token}


@dataclass
class OAuthProvider:
    """Clients by id, tokens that are good by their text, and those that it was asked about."""

    clients: dict[str, Client] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    down: bool = False
    url: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """On loopback, at `url`."""
        server = _Server(self)
        app = FastAPI()

        @app.post("/revoke")
        async def revoke(request: Request) -> Response:
            if self.down:
                return Response("busy", 503)
            form = {name: str(value) for name, value in (await request.form()).items()}
            asked = _Request(
                "POST", str(request.url), form, {"Authorization": request.headers.get("authorization", "")}
            )
            response: Response = server.create_endpoint_response("revocation", asked)
            return response

        async with served(app) as running:
            self.url = f"http://127.0.0.1:{port_of(running)}/revoke"
            yield
