"""The contract of a metadata store: its verbs and their promises.

`find_` may return None, `get_` and everything that changes a named thing raise `NotFound`. Each verb that writes is one
transaction: all of it or nothing, and, save for keys and blobs, it draws the next revision and appends to the change
log in that same transaction. Revisions become visible in order: who has seen revision N has seen all before it.
Every verb raises `Unavailable` if the store cannot be reached.

A verb that makes a workspace have more sites, widgets or live files, or possess more bytes, raises `QuotaExceeded` if
that is more than the workspace's limit, however many do so at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Protocol

from storage.calls import Actor, Attempt, AuditEntry
from storage.file_finder import FileFinder
from storage.models import (
    Blob,
    Change,
    Coding,
    Deployment,
    Digest,
    Entry,
    File,
    HostedSite,
    Key,
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
    Uncoded,
)
from storage.retention import RetentionStore
from storage.widget_metadata import WidgetMetadata
from storage.widgets import Widget, WidgetSession
from storage.workspaces import Usage, Workspace, WorkspacePatch


class EdgeMetadata(FileFinder, Protocol):
    """What the edge asks, and all it may ask: reads, each one indexed query, and to keep what visitors report."""

    async def get_revision(self) -> int:
        """The latest revision; 0 for a new store."""
        ...

    async def list_changes(self, since: int, limit: int = 1000) -> Sequence[Change]:
        """The changes after revision `since`, oldest first, at most `limit`."""
        ...

    def list_changes_nowait(self, since: int, limit: int = 1000) -> Sequence[Change] | None:
        """The same; None if that is not to be had without waiting."""
        ...

    async def find_site(self, domains: Sequence[str]) -> HostedSite | None:
        """The site of the first of `domains` that has one, with its space's revisions as of the same instant."""
        ...

    async def find_preview(
        self, deployment: str, *, domain: str | None = None, site: str | None = None
    ) -> HostedSite | None:
        """The deployment whose id begins with these digits as the site of the same space shows it that is at `domain`
        or, if that is None, whose id begins with the digits `site`. Of several, the one with the least ids."""
        ...

    async def list_paths(self, space_id: str, folder: str, revision: int, after: str, limit: int) -> Sequence[str]:
        """The first `limit` paths behind `after`, sorted, of what was live below `folder` at `revision`."""
        ...

    async def find_widget(self, site_id: str) -> Widget | None:
        """The widget that pages name by `site_id`."""
        ...

    async def find_widget_for_domain(self, workspace_id: str, domain: str) -> Widget | None:
        """The one that the workspace has for exactly this domain."""
        ...

    async def add_session(self, site_id: str, page: str, transcript: str = "") -> WidgetSession:
        """Keep that the widget was opened; of the widget's sessions, the latest `MAX_SESSIONS` stay. No change that
        concerns anybody. Raises `NotFound`, and `Invalid` (page, transcript: too long, or not to be kept)."""
        ...


class MetadataStore(EdgeMetadata, RetentionStore, WidgetMetadata, Protocol):
    """Everything the control API asks."""

    async def close(self) -> None:
        """Let go of connections and threads; again is harmless."""
        ...

    def acting(self, actor: Actor) -> MetadataStore:
        """The same store, of whose changes the audit log says that `actor` made them, and not the server itself."""
        ...

    # The audit log. Each change that a verb below makes is in it, told in the same transaction; of contents that are
    # uploaded, only what is then made of them.

    async def list_audit(
        self,
        workspace_id: str,
        query: PageQuery,
        *,
        kind: str | None = None,
        object_id: str | None = None,
        action: str | None = None,
        spaces: Collection[str] | None = None,
    ) -> Page[AuditEntry]:
        """By id, which is by time. `spaces` keeps what concerns these, a hundred or so."""
        ...

    async def forget_audit(self, before: Millis) -> int:
        """Remove the entries of before then, some thousands at most; how many."""
        ...

    # Calls that may be repeated. No change either.

    async def begin_attempt(self, workspace_id: str, scope: str, new: Attempt, *, since: Millis) -> Attempt:
        """The attempt of this scope that began after `since`, or else `new`, which the store then remembers. Of those
        who race, one gets its own."""
        ...

    async def end_attempt(self, workspace_id: str, scope: str, id: str, status: int, answer: str) -> None:
        """Remember its answer; harmless if it has been forgotten."""
        ...

    async def forget_attempt(self, workspace_id: str, scope: str, id: str) -> None:
        """As if it had never been; harmless if it is not there."""
        ...

    async def forget_attempts(self, before: Millis, keep: int) -> int:
        """Remove those that began before then, and of each workspace all but its latest `keep`: some thousands of each
        at most; how many."""
        ...

    # Workspaces and keys. They do not concern the edge: no revision, no change.

    async def put_workspace(self, workspace_id: str, name: str) -> Workspace:
        """The workspace with this id; made with `name` if it is not there yet."""
        ...

    async def create_workspace(self, new: WorkspacePatch) -> Workspace:
        """Raises `Conflict` (alias, unique in the store)."""
        ...

    async def find_workspace(self, workspace_id: str) -> Workspace | None: ...

    async def find_workspace_by_alias(self, alias: str) -> Workspace | None: ...

    async def list_workspaces(self, query: PageQuery) -> Page[Workspace]:
        """By id, which is by creation."""
        ...

    async def update_workspace(self, workspace_id: str, patch: WorkspacePatch) -> Workspace:
        """A limit below what there is already takes nothing away. Raises `NotFound`, `Conflict` (alias)."""
        ...

    async def measure_workspace(self, workspace_id: str) -> Usage:
        """What it has now; nothing if it does not exist."""
        ...

    async def create_key(self, new: NewKey) -> Key:
        """Raises `NotFound` (workspace)."""
        ...

    async def find_key(self, key_id: str) -> Key | None: ...

    async def find_key_by_hash(self, secret_hash: str) -> Key | None: ...

    async def list_keys(self, workspace_id: str, query: PageQuery) -> Page[Key]:
        """By id, which is by creation; expired and revoked ones too."""
        ...

    async def revoke_key(self, key_id: str) -> Key:
        """Acts at once; a second time changes nothing. Raises `NotFound`."""
        ...

    async def touch_key(self, key_id: str, used_at: Millis) -> None:
        """Remember when it was last used; harmless if it is gone."""
        ...

    # Spaces.

    async def create_space(self, new: NewSpace) -> Space:
        """Raises `NotFound` (workspace), `Conflict` (alias, unique a workspace), `Invalid` (meta too large)."""
        ...

    async def find_space(self, space_id: str) -> Space | None: ...

    async def find_space_by_alias(self, workspace_id: str, alias: str) -> Space | None: ...

    async def list_spaces(
        self,
        workspace_id: str,
        query: PageQuery,
        *,
        contact_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        among: Collection[str] | None = None,
    ) -> Page[Space]:
        """By id, which is by creation.

        `meta` keeps those that have each of its keys with that value: a string equal to it, or a number or boolean
        whose JSON text it is. `among` keeps those with these ids, a hundred or so.
        """
        ...

    async def update_space(self, space_id: str, patch: SpacePatch) -> Space:
        """Raises `NotFound`, `Conflict` (alias), `Invalid` (meta too large)."""
        ...

    async def delete_space(self, space_id: str) -> None:
        """With its sites, files, history and deployments; frees their domains. Raises `NotFound`."""
        ...

    # Sites.

    async def create_site(self, new: NewSite) -> Site:
        """Raises `NotFound` (space), `Conflict` (domain: any workspace's; alias: this workspace's), `Invalid`.

        `Invalid` with field "index" or "notFound", naming the missing path: a named file must exist below the prefix in
        the state that would result. Field "meta": too large.
        """
        ...

    async def create_sites(self, news: Sequence[NewSite]) -> Sequence[Site]:
        """All of them or none, in one change. Raises as `create_site`; thousands at once are what it is for."""
        ...

    async def find_site_by_id(self, site_id: str) -> Site | None: ...

    async def find_site_by_alias(self, workspace_id: str, alias: str) -> Site | None: ...

    async def list_sites(
        self,
        space_id: str,
        query: PageQuery,
        *,
        domain: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Page[Site]:
        """By id, which is by creation. `meta` as for spaces."""
        ...

    async def update_site(self, site_id: str, patch: SitePatch) -> Site:
        """Raises as `create_site` does. `settings_at` moves if one of `SERVED_FIELDS` got another value, and then to a
        second later than any file of its space was last changed in. The change names the old and the new domain."""
        ...

    async def delete_site(self, site_id: str) -> None:
        """Frees its domain. Raises `NotFound`."""
        ...

    # Files. Paths are in the kept form (`storage.paths`).

    async def put_files(self, space_id: str, files: Mapping[str, Blob], *, delete: Collection[str] = ()) -> int:
        """Publish all of `files` and end all of `delete` (those that are live) at once; the space's revision then.

        The caller has stored the blobs; the workspace comes to possess them. Where nothing would change (same digests,
        nothing to end) nothing is written. `modified_at` and `removed_at` are now, or, if within this second or later
        the path had other content, was removed, or a site of the space got other settings, the start of the first
        second after all of these. Raises `NotFound` (space).
        """
        ...

    async def delete_tree(self, space_id: str, path: str, *, recursive: bool = True) -> int:
        """End the live file at `path` and every one below it (`""`: all) at once; how many. Not recursive: the one at
        `path` alone. Those that an activation has removed and that may still be shown are taken down too, and counted.
        Raises `NotFound` (space)."""
        ...

    async def copy_files(self, space_id: str, path: str, destination: str, *, move: bool = False) -> int:
        """Publish at `destination` what is live at `path`, at once; how many files.

        That is the file at `path` or, if there is none, every file below it, each as far below `destination`. It takes
        the place of what is at the same paths; other files below `destination` stay. `move` ends the originals in the
        same change. Where nothing would change nothing is written, and times are as in `put_files`.
        Raises `NotFound` (space, file); `Invalid` (field "destinationPath": `path` itself, below the folder that is
        copied, or too long a path for some file).
        """
        ...

    async def find_file(self, space_id: str, path: str) -> File | None:
        """The live file."""
        ...

    async def list_files(self, space_id: str, folder: str, *, recursive: bool, query: PageQuery) -> Page[Entry]:
        """What is live below `folder`, by path in code-point order; `query.after` is a position in it.

        Recursive: every file, no folders. Otherwise one level: files, and a folder for each first segment that has
        files below it; where a folder and a file have one path, both are listed, the file first.
        """
        ...

    # Variants. A workspace has only those that were made for it, even where another has the same content: one that was
    # there at once would tell it so. Equal bytes are one blob all the same.

    async def put_variants(self, workspace_id: str, contents: Mapping[Digest, Mapping[Coding, Blob | None]]) -> None:
        """Remember what became of contents in codings, for this workspace: a blob, or None where it saves too little.

        What is remembered already stays as it is. Each space of the workspace in which a content that gains a variant
        is live moves on: one change of its own for each, and a later `HostedSite.variants_revision`. If there is no
        such space, no revision is drawn. Raises `NotFound` (workspace).
        """
        ...

    async def list_uncoded(self, after: tuple[int, str], limit: int) -> Sequence[Uncoded]:
        """The live files of all workspaces behind the place `after`, whose content lacks a coding; at most `limit`.

        By place, the revision and path with which a file begins. What begins later comes later, so who has come to the
        end of the list may go on from there.
        """
        ...

    # Blobs a workspace possesses, and deployments.

    async def put_blob(self, workspace_id: str, blob: Blob) -> None:
        """Remember that the workspace has uploaded this content; again is harmless."""
        ...

    async def put_blobs(self, workspace_id: str, blobs: Collection[Blob]) -> None:
        """`put_blob` of each, in one transaction."""
        ...

    async def release_blobs(self, before: Millis) -> int:
        """Let each workspace go of what it has not uploaded since `before` and nothing of its own refers to: no file,
        live or ended, and no deployment. How many possessions ended; what was made of them, variants, goes along.

        No write that draws a revision comes in between: a deployment that was just created keeps what it names.
        """
        ...

    async def find_used_blobs(self, digests: Collection[Digest], *, possessed_since: Millis = 0) -> Set[Digest]:
        """Those of `digests` that any row refers to: a file, live or ended, a deployment, a variant, or a workspace
        that possesses it and has uploaded it since then."""
        ...

    async def create_deployment(self, new: NewDeployment) -> Deployment:
        """Kept with its manifest, not yet visible to anybody.

        Raises `NotFound` (space); `Invalid` (field "base" if it is not a revision of the space's past; "files" if the
        workspace possesses some of the content with another size).
        """
        ...

    async def find_deployment(self, deployment_id: str) -> Deployment | None: ...

    async def list_deployments(self, space_id: str, query: PageQuery) -> Page[Deployment]:
        """By id, which is by creation."""
        ...

    async def find_deployment_blobs(
        self, deployment_id: str, digests: Collection[Digest]
    ) -> Mapping[Digest, tuple[str, Blob]]:
        """The blobs of those of `digests` that the manifest names, each with the first path that it names it for."""
        ...

    async def list_missing(self, deployment_id: str) -> Sequence[Digest]:
        """The manifest's digests that the deployment's workspace does not possess, sorted, each once."""
        ...

    async def read_manifest(self, deployment_id: str) -> Mapping[str, Blob]:
        """The manifest by path, as it was given; nothing if there is no such deployment."""
        ...

    async def read_tree(self, space_id: str, limit: int) -> Mapping[str, Blob]:
        """What is live, by path, as of one instant: the first `limit` files in code-point order."""
        ...

    async def activate_deployment(self, deployment_id: str, *, skew: Millis = 0) -> Deployment:
        """Make the manifest live, at once: everything below `prefix` ("replace"), or its own paths only ("merge").

        Raises `NotFound`; `Invalid` (field "files") while content is missing or is not as large as the manifest says;
        `Conflict` if it is a merge and one of its paths changed since `base`. Activating the active one again changes
        nothing and keeps its revision.
        Activating one that was active before republishes its manifest at a new revision, whatever changed since.

        If it removes files, `HostedSite.skew_revision` is its revision from now on, for `skew` milliseconds: visitors
        may be shown what ended with it. The window of an earlier activation is over in any case.
        """
        ...

    async def end_skew(self) -> int:
        """End the windows of skew protection whose time is over, some hundreds at most; how many. Each space moves on:
        one change of its own, and a later `HostedSite.variants_revision`."""
        ...
