"""The control API's verbs as publishing needs them, one method each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from server.cli.errors import ApiError
from server.cli.names import segment
from server.cli.site_views import problem_lines
from server.cli.transport import Body, Transport
from storage.models import DEFAULT_INDEX

if TYPE_CHECKING:
    from server.cli.connect import Connection


@dataclass(frozen=True, slots=True)
class RemoteSite:
    """A site as far as publishing needs it."""

    id: str
    domain: str
    prefix: str
    index: str


class Client(Transport):
    """A connection that knows what may be asked."""

    async def find_visitors(self) -> str | None:
        """The address at which the server answers visitors, if it says so."""
        found = await self.find_facts()
        address = found[1].get("visitors") if found else None
        return address if isinstance(address, str) else None

    async def find_url(self, connection: Connection, domain: str) -> str | None:
        """Where a browser finds a site; None for a wildcard, which is no name that a browser could look up."""
        return None if "*" in domain else connection.visitors_url(domain, await self.find_visitors())

    async def find_space(self, ref: str) -> str | None:
        """The id of the space that `ref` (an id or `@alias`) names."""
        answer = await self.find(f"space/{segment(ref)}/fetch")
        return str(answer["id"]) if answer else None

    async def create_space(self, alias: str, name: str) -> str:
        """Its id. Raises `ApiError` 409 if the alias is taken."""
        return str((await self.post("space/create", {"alias": alias, "name": name}))["id"])

    async def find_site(self, space_ref: str, domain: str) -> RemoteSite | None:
        """The space's site at `domain`; None also if there is no such space. Raises `ApiError` 400 for a bad domain."""
        answer = await self.find(f"space/{segment(space_ref)}/site/list", domain=domain)
        items = answer["items"] if answer else []
        return _site(items[0]) if items else None

    async def list_sites(self, space_id: str) -> AsyncIterator[RemoteSite]:
        """Every site of the space."""
        async for item in self.records(f"space/{space_id}/site/list"):
            yield _site(item)

    async def create_site(self, space_id: str, domain: str, prefix: str, alias: str | None) -> RemoteSite:
        """Bind the domain. Raises `ApiError` 409 if the domain or the alias is taken."""
        optional = {"prefix": prefix, "alias": alias}
        body = {"domain": domain, "name": domain, **{name: value for name, value in optional.items() if value}}
        site_id = (await self.post(f"space/{space_id}/site/create", body))["id"]
        return RemoteSite(site_id, domain, prefix, DEFAULT_INDEX)

    async def list_files(self, space_id: str, folder: str) -> AsyncIterator[tuple[str, str]]:
        """(path, digest) of every live file below `folder`, by path."""
        where = f"space/{space_id}/storage/list" + (f"/{quote(folder)}" if folder else "")
        async for item in self.records(where, recursive="true"):
            yield item["path"], item["digest"]

    async def create_deployment(
        self, space_id: str, files: Mapping[str, tuple[str, int]], *, prefix: str, message: str
    ) -> tuple[str, list[str]]:
        """The new deployment's id and the digests to upload. `files`: path relative to `prefix` → (digest, size)."""
        body = {
            "files": {path: {"digest": digest, "size": size} for path, (digest, size) in files.items()},
            "mode": "replace",
            **({"prefix": prefix} if prefix else {}),
            **({"message": message} if message else {}),
        }
        answer = await self.post(f"space/{space_id}/deployment/create", body)
        return answer["id"], answer["missing"]

    async def list_missing(self, space_id: str, deployment_id: str) -> list[str]:
        """The digests that are yet to be uploaded."""
        answer = await self.get(f"space/{space_id}/deployment/{deployment_id}/missing")
        missing: list[str] = answer["missing"]
        return missing

    async def upload_blobs(self, space_id: str, deployment_id: str, prepare: Callable[[], Awaitable[Body]]) -> None:
        """Send contents, as a form; `prepare` is called anew for each attempt."""
        await self.upload(f"space/{space_id}/deployment/{deployment_id}/blobs", prepare)

    async def activate(self, space_id: str, deployment_id: str) -> list[str]:
        """Publish the deployment. What is wrong with the rules that are live then, by file and line."""
        return problem_lines(await self.post(f"space/{space_id}/deployment/{deployment_id}/activate"))

    async def diff(self, space_id: str, deployment_id: str, **query: str) -> dict[str, Any]:
        """What activating the deployment would change."""
        return await self.get(f"space/{space_id}/deployment/{segment(deployment_id)}/diff", **query)

    async def find_problems(self, space_id: str, deployment_id: str) -> list[str]:
        """What is wrong with the rules that would be live then, as `activate` tells it; nothing if that is refused,
        for it is asked when all is done."""
        try:
            return problem_lines(await self.diff(space_id, deployment_id))
        except ApiError:
            return []

    async def find_preview(self, space_id: str, site_id: str, deployment_id: str) -> str | None:
        """The URL at which the deployment can be looked at as the site's; None if the server tells none: what was done
        by then is done, and no refusal makes it undone."""
        try:
            answer = await self.get(f"space/{space_id}/site/{site_id}/preview/{segment(deployment_id)}")
        except ApiError:
            return None
        return str(answer["url"])


def _site(item: Mapping[str, Any]) -> RemoteSite:
    # The API writes a folder with a slash in front, and none for the whole space as null.
    return RemoteSite(item["id"], item["domain"], (item["prefix"] or "").strip("/"), item["index"])
