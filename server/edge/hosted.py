"""What the store has for a host, and of the tree that its site shows: the live one, or that of a deployment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from server.edge.hosts import lookup_names
from server.edge.preview_hosts import parse_preview, preview_host
from server.edge.request import Refusal
from storage.file_finder import FileFinder
from storage.metadata import EdgeMetadata
from storage.models import File, HostedSite


async def find_hosted(metadata: EdgeMetadata, host: str, platform_domains: Sequence[str]) -> HostedSite | None:
    """The site that is at `host` (from `parse_authority`), or whose preview is. Raises `Unavailable`."""
    name = parse_preview(host, platform_domains)
    if name is None:
        return await metadata.find_site(lookup_names(host))
    site = await metadata.find_preview(name.deployment, domain=name.domain, site=name.site)
    if site is None or site.preview is None:
        return None
    # One name for each preview: others would each take a place in memory.
    named = preview_host(site.preview.deployment_id, site.id, site.domain, platform_domains)
    return site if named == host else None


async def find_files(metadata: FileFinder, site: HostedSite, paths: Collection[str]) -> Mapping[str, File]:
    """The rows of `paths`, as `FileFinder.find_files` has them, in the tree that `site` shows.

    A deployment's is the tree that it started from, without what it drops, and its manifest over that. Raises
    `Unavailable`; `Refusal` while a content that counts is still to be uploaded.
    """
    preview = site.preview
    if preview is None:
        return await metadata.find_files(site.space_id, paths, site.files_revision)
    deployed = await metadata.find_deployed_files(site.space_id, preview.deployment_id, paths)
    files = {path: file for path, file in deployed.items() if file is not None}
    if len(files) < len(deployed):
        raise Refusal(404, "not all of this deployment has been uploaded yet. Try again when it has")
    kept = [path for path in paths if path not in files and not preview.drops(path)]
    if not kept:
        return files
    base = await metadata.find_files(site.space_id, kept, site.files_revision)
    # A row may outlive its content: then there is nothing left to show of it.
    return {**files, **{path: file for path, file in base.items() if file.digest}}
