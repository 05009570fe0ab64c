"""Publishing a directory: everything a visitor sees changes at once, or not at all.

1. find the space, or make it; find the site, which says where in the space its files are
2. compare with what is live: the same tree is left alone, and so are files of other sites of the space
3. create a deployment, send the contents that the server lacks, and activate it, if that is wanted
4. make the site if there was none: last, so that its first visitor finds it whole

Whatever cuts this short, doing it again takes up where it ended: contents that have arrived are not missing any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.cli.errors import USAGE, ApiError, CliError
from server.cli.names import derive_alias
from server.cli.scan import LocalFile, Scan
from server.cli.upload import Uploading, upload
from storage.errors import Invalid
from storage.paths import join, parse_folder

if TYPE_CHECKING:
    from server.cli.client import Client, RemoteSite

RULES = ("_redirects", "_headers")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish. `space` (id or alias) and `prefix` are None where nobody said.

    `force`: also where that removes files of other sites. `activate`: make it live; `spare_urls`: unless URLs that work
    now would stop working.
    """

    domain: str
    space: str | None = None
    prefix: str | None = None
    message: str = ""
    force: bool = False
    activate: bool = True
    spare_urls: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What is there already. `alias` names a space that would have to be made (`space_id` None)."""

    alias: str
    space_id: str | None
    site: RemoteSite | None
    prefix: str


@dataclass(frozen=True, slots=True)
class Change:
    """What publishing does to what is live. `removed`: paths in the space, in order, that the directory lacks."""

    is_none: bool
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done. `deployment_id` is None where nothing had changed.

    `is_live`: visitors get it. `loss`: what they would lose, for whose sake they do not, as the API's diff has it.
    `preview`: where the deployment can be looked at. `problems`: of the site's rules, as they are live or would be.
    """

    space_id: str
    site: RemoteSite
    deployment_id: str | None
    removed: tuple[str, ...]
    sent_files: int = 0
    sent_bytes: int = 0
    is_live: bool = True
    loss: Mapping[str, Any] | None = None
    preview: str | None = None
    problems: tuple[str, ...] = ()


async def find_place(client: Client, target: Target) -> Place:
    """Look, and change nothing. Raises `CliError` if the wishes of `target` contradict what is there."""
    ref = target.space or f"@{derive_alias(target.domain)}"
    ref = ref if ref.startswith(("@", "space_")) else f"@{ref}"
    space_id = await client.find_space(ref)
    if space_id is None and ref.startswith("space_"):
        raise CliError(f"there is no space {ref}.", "Leave --space away, or name the new space with an alias.")
    site = await client.find_site(space_id or ref, target.domain)  # even without a space: a bad domain ends it here
    wished = _parse_prefix(target.prefix)
    if site and wished is not None and wished != site.prefix:
        raise CliError(
            f"{target.domain} serves the folder {site.prefix or '/'!r} of its space, not {wished or '/'!r}.",
            "Leave --prefix away, or change the site's prefix through the API first.",
        )
    return Place(ref.removeprefix("@"), space_id, site, site.prefix if site else wished or "")


async def find_change(client: Client, place: Place, scan: Scan, *, force: bool) -> Change:
    """Look, and change nothing. Raises `CliError` if other sites would lose files, unless `force`."""
    if place.space_id is None:
        return Change(is_none=False)
    live = {path: digest async for path, digest in client.list_files(place.space_id, place.prefix)}
    wanted = {join(place.prefix, file.path): file.digest for file in scan.files}
    removed = tuple(path for path in live if path not in wanted)
    if removed and not force:
        await _spare_others(client, place.space_id, place.prefix, removed)
    return Change(is_none=live == wanted, removed=removed)


async def publish(client: Client, scan: Scan, target: Target, uploading: Uploading) -> Outcome:
    """Do it. Raises `CliError`; until the deployment is activated, visitors notice nothing."""
    place = await find_place(client, target)
    change = await find_change(client, place, scan, force=target.force)
    space_id = place.space_id or await _make_space(client, place.alias, target.domain)
    if change.is_none and target.activate:
        site = place.site or await _make_site(client, space_id, target.domain, place.prefix)
        return Outcome(space_id, site, None, change.removed)
    manifest = {file.path: (file.digest, file.size) for file in scan.files}
    deployment_id, missing = await client.create_deployment(
        space_id, manifest, prefix=place.prefix, message=target.message
    )
    sent = _choose(scan, missing)
    await upload(client, (space_id, deployment_id), sent, uploading)
    loss = await client.diff(space_id, deployment_id) if target.spare_urls and not change.is_none else None
    is_spared = loss is not None and loss["broken"]["total"] > 0
    problems: list[str] = []
    is_live = target.activate and not is_spared
    if is_live:
        problems = await client.activate(space_id, deployment_id)
    site = place.site or await _make_site(client, space_id, target.domain, place.prefix)
    if not (is_live and place.site) and any(file.path in RULES for file in scan.files):
        # Activating tells of the rules that are live then: not of those of a site that was not there yet.
        problems = await client.find_problems(space_id, deployment_id)
    return Outcome(
        space_id,
        site,
        deployment_id,
        change.removed,
        sent_files=len(sent),
        sent_bytes=sum(file.size for file in sent),
        is_live=is_live,
        loss=loss if is_spared else None,
        preview=await client.find_preview(space_id, site.id, deployment_id),
        problems=tuple(problems),
    )


def find_warnings(scan: Scan, index: str) -> list[str]:
    """What would surprise the visitors."""
    if any(file.path == index for file in scan.files):
        return []
    return [f"There is no {index}, so the site's first page will be a 404."]


def _parse_prefix(prefix: str | None) -> str | None:
    try:
        return None if prefix is None else parse_folder(prefix)
    except Invalid as exc:
        raise CliError(f"--prefix {exc}.", "Name a folder of the space, such as docs.", exit_code=USAGE) from exc


async def _make_space(client: Client, alias: str, name: str) -> str:
    try:
        return await client.create_space(alias, name)
    except ApiError as exc:
        # Somebody made it since we looked, or our first call arrived and its answer was lost.
        space_id = await client.find_space(f"@{alias}") if exc.status == 409 else None
        if space_id is None:
            raise
        return space_id


async def _make_site(client: Client, space_id: str, domain: str, prefix: str) -> RemoteSite:
    """The new site, with an alias like its domain if nobody has that yet; or the one that is there by now."""
    for alias in (derive_alias(domain), None):
        try:
            return await client.create_site(space_id, domain, prefix, alias)
        except ApiError as exc:
            if exc.status != 409:
                raise
            if site := await client.find_site(space_id, domain):  # as for the space
                return site
    raise CliError(
        f"{domain} belongs to a site of another space.",
        "Give that space with --space, or choose another --domain. Nothing of that site was changed.",
    )


async def _spare_others(client: Client, space_id: str, prefix: str, removed: Sequence[str]) -> None:
    """Raises `CliError` if one of `removed` is below the prefix of a site that has its own folder below `prefix`.

    A site with the same prefix serves the same tree, and is meant to change with it.
    """
    hurt = []
    async for site in client.list_sites(space_id):
        is_below = site.prefix != prefix and (not prefix or site.prefix.startswith(f"{prefix}/"))
        if is_below and any(path.startswith(f"{site.prefix}/") for path in removed):
            hurt.append(f"{site.domain} (folder {site.prefix!r})")
    if hurt:
        raise CliError(
            f"this would remove files of {', '.join(hurt)}: the same space, below {prefix or '/'!r}. "
            "Nothing was changed.",
            "Publish to another folder with --prefix, or to another space with --space; or give --force, if those "
            "files are to go.",
        )


def _choose(scan: Scan, missing: Iterable[str]) -> list[LocalFile]:
    """One file for each missing content."""
    wanted = set(missing)
    return list({file.digest: file for file in scan.files if file.digest in wanted}.values())
