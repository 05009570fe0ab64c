"""The pure steps that every metadata store shares: new values out of what a caller asked for, and pages out of rows.

A store reads what is there, calls these, and writes what they return.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from storage.clock import stamp
from storage.errors import Conflict, Invalid, NotFound, QuotaExceeded
from storage.ids import new_id
from storage.models import (
    SERVED_FIELDS,
    Blob,
    Deployment,
    Entry,
    File,
    Key,
    Meta,
    Millis,
    NewDeployment,
    NewKey,
    NewSite,
    NewSpace,
    Page,
    PageQuery,
    Site,
    SitePatch,
    Space,
    SpacePatch,
    merge_meta,
)
from storage.paths import check_moved, join
from storage.workspaces import Workspace, WorkspacePatch

T = TypeVar("T")

# What the `meta` of a site has, as a filter would look for it, if its pages are to have the tag of the widget that its
# workspace has for its domain.
TAGGED: Mapping[str, str] = {"widget": "true"}

# The name the API gives a field that names a file, and the field of a Site.
_NAMED_FILES = (("index", "named_index"), ("notFound", "named_not_found"))


class Quota(NamedTuple):
    """A limit of a workspace on what it keeps: its field, what the API calls it, what makes room."""

    field: str
    label: str
    remedy: str


SITES = Quota("max_sites", "maxSites", "delete a site")
WIDGETS = Quota("max_widgets", "maxWidgets", "delete a site of the Sites API")
FILES = Quota("max_files", "maxFiles", "delete files")
# Content that was replaced can still be gone back to, and counts.
BYTES = Quota("max_bytes", "maxBytes", "delete spaces that are no longer needed (older versions of files count too)")


def check_quota(quota: Quota, workspace: Workspace, after: int) -> None:
    """Raises `QuotaExceeded` if `after` is more than the workspace's limit."""
    allowed = getattr(workspace, quota.field)
    if allowed is not None and after > allowed:
        raise QuotaExceeded(quota.label, allowed, quota.remedy)


def make_workspace(new: WorkspacePatch, now: Millis, id: str | None = None) -> Workspace:
    """Raises `Invalid` (text that UTF-8 cannot carry)."""
    empty = Workspace(
        id=id or new_id("workspace"),
        alias=None,
        name="",
        max_sites=None,
        max_files=None,
        max_bytes=None,
        requests_per_minute=None,
        created_at=now,
        updated_at=now,
    )
    return patch_workspace(empty, new, now)


def patch_workspace(workspace: Workspace, patch: WorkspacePatch, now: Millis) -> Workspace:
    """`workspace` with `patch` over it; raises as `make_workspace` does."""
    patched = replace(workspace, **patch, updated_at=now)
    _check_text({"alias": patched.alias, "name": patched.name})
    return patched


def make_key(new: NewKey, now: Millis) -> Key:
    """Raises `Invalid` (text that UTF-8 cannot carry)."""
    _check_text({"name": new.name})
    return Key(
        id=new_id("key"),
        workspace_id=new.workspace_id,
        name=new.name,
        secret_hash=new.secret_hash,
        scopes=new.scopes,
        dialect=new.dialect,
        created_at=now,
        expires_at=new.expires_at,
    )


def refuse_twins(made: Iterable[Site]) -> None:
    """Raises `Conflict` if two of them would have one domain, or one alias in a workspace."""
    domains: set[str] = set()
    aliases: set[tuple[str, str]] = set()
    for site in made:
        if site.domain in domains:
            raise Conflict("site", "domain", site.domain)
        domains.add(site.domain)
        if site.alias is not None:
            if (site.workspace_id, site.alias) in aliases:
                raise Conflict("site", "alias", site.alias)
            aliases.add((site.workspace_id, site.alias))


def make_space(new: NewSpace, revision: int, now: Millis) -> Space:
    """Raises `Invalid` (meta too large, text that UTF-8 cannot carry)."""
    space = Space(
        id=new_id("space"),
        workspace_id=new.workspace_id,
        alias=new.alias,
        name=new.name,
        description=new.description,
        contact_id=new.contact_id,
        meta=merge_meta({}, new.meta),
        revision=revision,
        created_at=now,
        updated_at=now,
    )
    _check_space(space)
    return space


def patch_space(space: Space, patch: SpacePatch, now: Millis) -> Space:
    """`space` with `patch` over it; raises as `make_space` does."""
    fields: dict[str, Any] = {**patch, "meta": merge_meta(space.meta, patch.get("meta", {}))}
    patched = replace(space, **fields, updated_at=now)
    _check_space(patched)
    return patched


def make_site(new: NewSite, workspace_id: str, revision: int, now: Millis) -> Site:
    """Raises `Invalid` (meta too large, text that UTF-8 cannot carry)."""
    site = Site(
        id=new_id("site"),
        workspace_id=workspace_id,
        space_id=new.space_id,
        domain=new.domain,
        prefix=new.prefix,
        named_index=new.named_index,
        named_not_found=new.named_not_found,
        alias=new.alias,
        name=new.name,
        description=new.description,
        meta=merge_meta({}, new.meta),
        revision=revision,
        created_at=now,
        updated_at=now,
        previews=new.previews,
        skew_protection=new.skew_protection,
    )
    _check_site(site)
    return site


def patch_site(site: Site, patch: SitePatch, revision: int, now: Millis) -> Site:
    """`site` with `patch` over it, `settings_at` as it was; raises as `make_site` does."""
    fields: dict[str, Any] = {**patch, "meta": merge_meta(site.meta, patch.get("meta", {}))}
    patched = replace(site, **fields, revision=revision, updated_at=now)
    _check_site(patched)
    return patched


def is_served_anew(old: Site, new: Site) -> bool:
    """Whether a setting that visitors see differs."""
    tagged = matches_meta(old.meta, TAGGED), matches_meta(new.meta, TAGGED)
    return tagged[0] != tagged[1] or any(getattr(old, field) != getattr(new, field) for field in SERVED_FIELDS)


def stamp_settings(site: Site, files_changed_at: Millis, now: Millis) -> Site:
    """`site` with its settings changed now: in a later second than they, or any file of its space, were before."""
    return replace(site, settings_at=stamp(now, files_changed_at, site.settings_at or 0))


def make_deployment(new: NewDeployment, space: Space, now: Millis) -> Deployment:
    """Raises `Invalid` (text that UTF-8 cannot carry; a base that the space has not reached)."""
    _check_text({"message": new.message})
    if new.base is not None and not 0 <= new.base <= space.revision:
        raise Invalid("base", f"is not a revision of this space, whose latest is {space.revision}")
    return Deployment(
        id=new_id("deployment"),
        workspace_id=space.workspace_id,
        space_id=space.id,
        mode=new.mode,
        prefix=new.prefix,
        message=new.message,
        base=space.revision if new.base is None else new.base,
        file_count=len(new.files),
        byte_count=sum(blob.size for blob in new.files.values()),
        revision=None,
        created_at=now,
        activated_at=None,
    )


def refuse_deletion(deployment: Deployment) -> None:
    """Raises `Conflict` for a deployment that has been live: what was made live can be gone back to."""
    if deployment.revision is not None:
        message = "the deployment has been activated: it is kept as long as older ones are"
        raise Conflict("deployment", "revision", str(deployment.revision), message)


def required_files(site: Site, given: Collection[str] = ("prefix",)) -> list[tuple[str, str]]:
    """The named files that must exist where the fields `given` were given, as (the API's field, path in the space).

    Giving the prefix, as a creation does, requires both. An update that gives none of these is not refused for a file
    that went missing meanwhile.
    """
    return [
        (label, join(site.prefix, getattr(site, field)))
        for label, field in _NAMED_FILES
        if getattr(site, field) is not None and ("prefix" in given or field in given)
    ]


def missing_file(label: str, path: str) -> Invalid:
    """The error for a named file that is not there."""
    return Invalid(label, f"{path!r} does not exist in the space: upload it first")


def missing_content(count: int) -> Invalid:
    """The error for a deployment that cannot be activated yet."""
    return Invalid("files", f"{count} of its files' contents have not been uploaded yet")


def wrong_size(path: str) -> Invalid:
    """The error for a manifest that gives content another size than it has."""
    return Invalid("files", f"{path!r} is not as large as the manifest says: its content is known, with another size")


def must_match_base(deployment: Deployment) -> bool:
    """A merge must not undo what others did since its base; activating it once more is a rollback, meant to."""
    return deployment.mode == "merge" and deployment.revision is None


def changed_meanwhile(path: str, base: int) -> Conflict:
    """The error for a merge that would."""
    return Conflict("file", "path", path, f"{path!r} changed after revision {base}, which the deployment is based on")


def refuse_copy(path: str, destination: str, octets: int, slashes: int, *, is_folder: bool) -> None:
    """Raises `Invalid` if what is at `path` cannot be put at `destination`. `octets` and `slashes` are the most that
    the path of any of its files has."""
    field = "destinationPath"
    if destination == path:
        raise Invalid(field, "is the path itself: name another")
    if is_folder and destination.startswith(f"{path}/"):
        raise Invalid(field, f"lies in {path!r}, the folder that would be put there: name one outside of it")
    check_moved(field, destination, octets - len(path.encode()), slashes - path.count("/"))


def plan_copy(files: Sequence[File], path: str, destination: str) -> tuple[dict[str, Blob], list[str]]:
    """What a copy puts, by path, and the originals, out of what is live at `path` and below it.

    Raises `NotFound`, and what `refuse_copy` does.
    """
    single = [file for file in files if file.path == path]
    chosen = single or files
    if not chosen:
        raise NotFound("file", path)
    octets = max(len(file.path.encode()) for file in chosen)
    slashes = max(file.path.count("/") for file in chosen)
    refuse_copy(path, destination, octets, slashes, is_folder=not single)
    copies = {destination + file.path.removeprefix(path): Blob(digest=file.digest, size=file.size) for file in chosen}
    return copies, [file.path for file in chosen]


def meta_text(value: object) -> str | None:
    """What a filter compares a value of `meta` with: a string itself, a number's or boolean's JSON text, else None."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def matches_meta(meta: Meta, wanted: Mapping[str, str]) -> bool:
    """Whether `meta` has each key of `wanted` with that value."""
    return all(meta_text(meta.get(key)) == value for key, value in wanted.items())


def cut_page(items: Sequence[T], take: int, position: Callable[[T], str]) -> Page[T]:
    """A page out of `items`, of which one more than `take` was read if there are more."""
    return Page(items=tuple(items[:take]), next=position(items[take - 1]) if len(items) > take else None)


def entry_position(entry: Entry) -> str:
    """Where a listing goes on after `entry`: its path, with a slash behind that of a folder."""
    return f"{entry.path}/" if entry.is_directory else entry.path


def after_path(query: PageQuery) -> PageQuery:
    """The question for what comes after the path at which `query`, of a listing, goes on."""
    return replace(query, after=query.after and query.after.removesuffix("/"))


def _check_space(space: Space) -> None:
    _check_text(
        {"alias": space.alias, "name": space.name, "description": space.description, "contactId": space.contact_id}
    )


def _check_site(site: Site) -> None:
    _check_text({"alias": site.alias, "name": site.name, "description": site.description})


def _check_text(fields: Mapping[str, str | None]) -> None:
    """Raises `Invalid` for a lone surrogate, which JSON can spell and no database can keep."""
    for field, text in fields.items():
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise Invalid(field, "has a character that UTF-8 cannot carry (a lone surrogate)") from None
