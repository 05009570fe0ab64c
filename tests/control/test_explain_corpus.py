"""Every GET and HEAD of the wire corpus for a site: what `explain` says is what the edge answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from server.control.app import create_app
from server.control.auth import hash_secret
from server.control.config import ControlConfig
from server.doors.head import Head, find_head_end, parse_head
from server.edge.hosted import find_hosted
from server.edge.request import Refusal, read_request
from server.edge.response import Response
from storage.models import Site
from tests.control.api import ROOT_SECRET, port_of, served
from tests.support import corpus
from tests.support.hosting import PREVIEWS, WIDGET_HOST, Hosting, memory_hosting

NOT_ASKED = frozenset(
    {"connection", "content-length", "transfer-encoding", "expect", "trailer"}
)  # of the message alone


def heads(request: bytes) -> Iterator[Head]:
    """The well-formed messages of a case, up to the first that the listener refuses."""
    buffer = bytearray(request)
    while buffer:
        if buffer.startswith(b"\r\n"):
            del buffer[:2]
        try:
            end = find_head_end(buffer, 0)
            if end < 0:
                return
            head = parse_head(bytes(buffer[: end - 4]))
            del buffer[:end]
            if head.body is not None and not head.body.feed(buffer):
                return
        except Refusal:
            return
        yield head


@dataclass
class Both:
    """The edge and the API over the same stores."""

    hosting: Hosting
    http: httpx.AsyncClient

    async def find_site(self, head: Head) -> Site | None:
        """The site that a request is for."""
        hosts = [value.decode("latin-1") for name, value in head.headers if name == b"host"]
        if len(hosts) != 1:
            return None
        url = head.target.decode("latin-1")
        authority = url.split("/")[2] if "://" in url.partition("?")[0] else hosts[0]
        name = authority.rpartition("@")[2].partition(":")[0].lower().removesuffix(".")
        found = await find_hosted(self.hosting.metadata, name, PREVIEWS.platform_domains)
        return None if found is None else await self.hosting.metadata.find_site_by_id(found.id)

    async def explain(self, site: Site, head: Head) -> tuple[int, list[tuple[str, str]]]:
        lines = [f"{name.decode()}: {value.decode('latin-1')}" for name, value in head.headers]
        parameters: list[tuple[str, str | int | float | bool | None]] = [
            ("url", head.target.decode()),
            ("method", head.method.decode()),
            *(("header", line) for line in lines if line.partition(":")[0] not in NOT_ASKED),
        ]
        url = f"/api/v1/space/{site.space_id}/site/{site.id}/explain"
        answer = await self.http.get(url, params=parameters)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert all(header["sources"] for header in told["headers"])
        return told["status"], [(header["name"], header["value"]) for header in told["headers"]]

    async def answer(self, head: Head) -> Response:
        try:
            request = read_request(head.method.decode(), head.target, "1.1", head.headers)
        except Refusal as refusal:
            return self.hosting.edge.refuse(refusal)
        response, reader = await self.hosting.edge.respond(request)
        if reader is not None:
            await reader.close()
        return response


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    async with memory_hosting() as hosting:
        await corpus.fill(hosting)
        config = ControlConfig(
            root_key_hash=hash_secret(ROOT_SECRET.encode()),
            default_workspace_id="workspace_test",
            clock=hosting.clock.millis,
            platform_domains=PREVIEWS.platform_domains,
            preview_keys=PREVIEWS.keys,
            widget_base=f"//{WIDGET_HOST}",
        )
        headers = {"authorization": f"Bearer {ROOT_SECRET}"}
        async with (
            served(create_app(hosting.metadata, hosting.blobs, config)) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}", headers=headers, trust_env=False) as http,
        ):
            yield Both(hosting, http)


def is_text(target: bytes) -> bool:
    """Whether the API's caller can write it: a URL is text, and without a fragment to the edge."""
    try:
        return "#" not in target.decode() and "\0" not in target.decode()
    except UnicodeDecodeError:
        return False


@pytest.mark.slow
async def test_what_is_explained_is_what_is_answered(both: Both) -> None:
    compared = set()
    for case in corpus.load_cases():
        for head in heads(case.request):
            site = await both.find_site(head) if is_text(head.target) else None
            if head.method not in (b"GET", b"HEAD") or site is None:
                continue
            response = await both.answer(head)
            headers = [(name.decode(), value.decode("latin-1")) for name, value in response.headers if name != b"date"]
            assert await both.explain(site, head) == (response.status, headers), case.name
            compared.add((case.name, response.status))
    assert len(compared) > 300
    assert {status for _, status in compared} == {
        200,
        206,
        301,
        302,
        303,
        304,
        308,
        400,
        403,
        404,
        410,
        412,
        414,
        416,
        451,
    }
