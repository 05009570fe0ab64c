"""The metadata contract in memory: nothing outlives the process.

No verb ever suspends, so each is atomic as it stands: it looks, refuses, and only then changes anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from storage import audit, edits
from storage.clock import now_ms, stamp
from storage.errors import Conflict
from storage.memory.copies import CopyVerbs
from storage.memory.deployments import DeploymentVerbs
from storage.memory.nouns import find_by_alias, get, is_after, page, refuse_taken_alias
from storage.memory.possessions import PossessionVerbs
from storage.memory.previews import PreviewVerbs
from storage.memory.tenants import MemoryTenants
from storage.memory.tree import Tree, file_entry
from storage.memory.variants import VariantVerbs
from storage.memory.widgets import WidgetVerbs
from storage.models import (
    Blob,
    Change,
    Deployment,
    Digest,
    Entry,
    File,
    HostedSite,
    Millis,
    NewDeployment,
    NewSite,
    NewSpace,
    Page,
    PageQuery,
    Site,
    SitePatch,
    Space,
    SpacePatch,
)
from storage.widgets import Purge, Secret, SecretKind, Widget, WidgetSession
from storage.workspaces import Usage


class MemoryMetadata(
    MemoryTenants, CopyVerbs, PossessionVerbs, VariantVerbs, DeploymentVerbs, PreviewVerbs, WidgetVerbs
):
    """`clock` gives the time; `announce` is told the last revision of each write, before the verb returns."""

    def __init__(
        self, *, clock: Callable[[], Millis] = now_ms, announce: Callable[[int], None] = lambda revision: None
    ) -> None:
        super().__init__(clock)
        self._announce = announce
        self._changes: list[Change] = []  # revision N is at N - 1
        self._spaces: dict[str, Space] = {}
        self._trees: dict[str, Tree] = {}  # by space
        self._settings_at: dict[str, Millis] = {}  # by space: the latest of its sites'
        self._sites: dict[str, Site] = {}
        self._domains: dict[str, str] = {}  # to the site's id
        self._uploaded_at: dict[tuple[str, Digest], Millis] = {}  # by workspace and content
        self._variants_revisions: dict[str, int] = {}  # by space; absent: 0
        self._windows: dict[str, tuple[int, Millis]] = {}  # by space: the activation, and when its window is over
        self._deployments: dict[str, Deployment] = {}
        self._manifests: dict[str, Mapping[str, Blob]] = {}  # by deployment
        self._widgets: dict[str, Widget] = {}
        self._widget_names: set[str] = set()  # every `site_id` that was ever claimed
        self._secrets: dict[tuple[str, SecretKind], Secret] = {}
        self._sessions: dict[str, WidgetSession] = {}
        self._purges: dict[str, Purge] = {}

    async def close(self) -> None:
        """There is nothing to let go of."""

    # What the edge asks.

    async def get_revision(self) -> int:
        return len(self._changes)

    async def list_changes(self, since: int, limit: int = 1000) -> Sequence[Change]:
        return self._changes[since : since + limit]

    def list_changes_nowait(self, since: int, limit: int = 1000) -> Sequence[Change] | None:
        return self._changes[since : since + limit]

    async def find_site(self, domains: Sequence[str]) -> HostedSite | None:
        for domain in domains:
            if domain in self._domains:
                site = self._sites[self._domains[domain]]
                space = self._spaces[site.space_id]
                wanted = edits.matches_meta(site.meta, edits.TAGGED)
                widget = await self.find_widget_for_domain(site.workspace_id, domain) if wanted else None
                variants_revision = self._variants_revisions.get(space.id, 0)
                skew_revision, _ = self._windows.get(space.id, (None, 0))
                named = widget.site_id if widget else None
                return HostedSite.of(site, space.revision, variants_revision, skew_revision, named)
        return None

    async def find_files(self, space_id: str, paths: Collection[str], revision: int) -> Mapping[str, File]:
        if space_id not in self._spaces:
            return {}
        tree, variants = self._trees[space_id], self._variants[self._spaces[space_id].workspace_id]
        rows = [row for path in paths if (row := tree.find(path, revision))]
        return {row.path: replace(row, variants=variants.of(row.digest)) for row in rows}

    async def list_paths(self, space_id: str, folder: str, revision: int, after: str, limit: int) -> Sequence[str]:
        paths = self._trees[space_id].list_paths(folder, revision) if space_id in self._trees else []
        return [path for path in paths if path > after][:limit]

    # Spaces.

    async def create_space(self, new: NewSpace) -> Space:
        self._require_workspace(new.workspace_id)
        space = edits.make_space(new, self._next_revision(), self._clock())
        refuse_taken_alias("space", space, self._spaces.values())
        self._spaces[space.id] = space
        self._trees[space.id] = Tree()
        self._settings_at[space.id] = 0
        self._record(audit.created(space))
        self._log("space.create")
        return space

    async def find_space(self, space_id: str) -> Space | None:
        return self._spaces.get(space_id)

    async def find_space_by_alias(self, workspace_id: str, alias: str) -> Space | None:
        return find_by_alias(self._spaces.values(), workspace_id, alias)

    async def list_spaces(
        self,
        workspace_id: str,
        query: PageQuery,
        *,
        contact_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        among: Collection[str] | None = None,
    ) -> Page[Space]:
        return page(
            (
                space
                for space in self._spaces.values()
                if space.workspace_id == workspace_id
                and contact_id in (None, space.contact_id)
                and (among is None or space.id in among)
                and edits.matches_meta(space.meta, meta or {})
            ),
            query,
        )

    async def update_space(self, space_id: str, patch: SpacePatch) -> Space:
        old = get(self._spaces, "space", space_id)
        space = edits.patch_space(old, patch, self._clock())
        refuse_taken_alias("space", space, self._spaces.values())
        self._spaces[space_id] = space
        self._record(audit.updated(old, space))
        self._log("space.update")
        return space

    async def delete_space(self, space_id: str) -> None:
        space = get(self._spaces, "space", space_id)
        hosts = tuple(sorted(site.domain for site in self._sites.values() if site.space_id == space_id))
        for host in hosts:
            del self._sites[self._domains.pop(host)]
        for deployment in [each for each in self._deployments.values() if each.space_id == space_id]:
            del self._deployments[deployment.id], self._manifests[deployment.id]
        del self._spaces[space_id], self._trees[space_id], self._settings_at[space_id]
        self._variants_revisions.pop(space_id, None)
        self._windows.pop(space_id, None)
        self._record(audit.deleted(space, domains=audit.first(hosts), domainCount=len(hosts)))
        self._log("space.delete", hosts, space_id)

    # Sites.

    async def create_site(self, new: NewSite) -> Site:
        space = get(self._spaces, "space", new.space_id)
        site = edits.make_site(new, space.workspace_id, self._next_revision(), self._clock())
        self._refuse_site(site, edits.required_files(site))
        self._check_quota(edits.SITES, space.workspace_id, self._count_sites(space.workspace_id) + 1)
        self._sites[site.id] = site
        self._domains[site.domain] = site.id
        self._record(audit.created(site))
        self._log("site.create", (site.domain,))
        return site

    async def create_sites(self, news: Sequence[NewSite]) -> Sequence[Site]:
        revision, now = self._next_revision(), self._clock()
        made = [
            edits.make_site(new, get(self._spaces, "space", new.space_id).workspace_id, revision, now) for new in news
        ]
        edits.refuse_twins(made)
        for site in made:
            self._refuse_site(site, edits.required_files(site))
        for workspace_id, more in Counter(site.workspace_id for site in made).items():
            self._check_quota(edits.SITES, workspace_id, self._count_sites(workspace_id) + more)
        self._sites |= {site.id: site for site in made}
        self._domains |= {site.domain: site.id for site in made}
        for site in made:
            self._record(audit.created(site))
        if made:
            self._log("site.create", tuple(site.domain for site in made))
        return made

    async def find_site_by_id(self, site_id: str) -> Site | None:
        return self._sites.get(site_id)

    async def find_site_by_alias(self, workspace_id: str, alias: str) -> Site | None:
        return find_by_alias(self._sites.values(), workspace_id, alias)

    async def list_sites(
        self,
        space_id: str,
        query: PageQuery,
        *,
        domain: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Page[Site]:
        return page(
            (
                site
                for site in self._sites.values()
                if site.space_id == space_id
                and domain in (None, site.domain)
                and edits.matches_meta(site.meta, meta or {})
            ),
            query,
        )

    async def update_site(self, site_id: str, patch: SitePatch) -> Site:
        old = get(self._sites, "site", site_id)
        now = self._clock()
        site = edits.patch_site(old, patch, self._next_revision(), now)
        self._refuse_site(site, edits.required_files(site, patch))
        if edits.is_served_anew(old, site):
            site = self._stamp_settings(site, now)
        del self._domains[old.domain]
        self._sites[site_id] = site
        self._domains[site.domain] = site_id
        self._record(audit.updated(old, site))
        self._log("site.update", tuple(sorted({old.domain, site.domain})))
        return site

    async def delete_site(self, site_id: str) -> None:
        site = get(self._sites, "site", site_id)
        del self._sites[site_id], self._domains[site.domain]
        self._record(audit.deleted(site))
        self._log("site.delete", (site.domain,))

    # Files.

    async def put_files(self, space_id: str, files: Mapping[str, Blob], *, delete: Collection[str] = ()) -> int:
        space = get(self._spaces, "space", space_id)
        self._check_bytes(space.workspace_id, files.values())
        named = {*files, *delete}
        before = self._digests(space_id, audit.first(named))
        if self._publish(space, files, delete):
            self._possess(space.workspace_id, files.values())
            after = self._digests(space_id, audit.first(named))
            verb = "put" if files else "delete"
            self._record(audit.files_changed(verb, space, before, after, len(named)))
            self._log("files.put", space_id=space_id)
        return self._spaces[space_id].revision

    async def delete_tree(self, space_id: str, path: str, *, recursive: bool = True) -> int:
        space = get(self._spaces, "space", space_id)
        tree, revision = self._trees[space_id], self._next_revision()
        ended = [file for file in tree.list_at(path) if recursive or file.path == path]
        shown = self._shown(space_id, path, recursive=recursive)
        before = {file.path: file.digest for file in (*ended, *shown)}
        told = {name: before[name] for name in audit.first(before)}
        tree.take_down(shown, revision, stamp(self._clock(), self._settings_at[space_id]))
        if self._publish(space, {}, [file.path for file in ended]) or shown:
            self._spaces[space_id] = replace(space, revision=revision)
            self._record(audit.files_changed("delete", space, told, {}, len(before)))
            self._log("files.delete", space_id=space_id)
        return len(before)

    async def find_file(self, space_id: str, path: str) -> File | None:
        return self._trees.get(space_id, Tree()).find_live(path)

    async def list_files(self, space_id: str, folder: str, *, recursive: bool, query: PageQuery) -> Page[Entry]:
        tree = self._trees.get(space_id, Tree())
        entries = [file_entry(file) for file in tree.list_live(folder)] if recursive else list(tree.list_level(folder))
        entries.sort(key=lambda entry: entry.is_directory)
        entries.sort(key=lambda entry: entry.path, reverse=query.descending)  # stable: the file stays first
        beyond, folder = edits.after_path(query), f"{query.after}/"  # the folder of its name follows a file
        rest = [entry for entry in entries if is_after(entry.path, beyond) or edits.entry_position(entry) == folder]
        return edits.cut_page(rest[: query.take + 1], query.take, edits.entry_position)

    # Blobs a workspace possesses, and deployments.

    async def create_deployment(self, new: NewDeployment) -> Deployment:
        space = get(self._spaces, "space", new.space_id)
        deployment = edits.make_deployment(new, space, self._clock())
        self._check_sizes(deployment, new.files)
        self._deployments[deployment.id] = deployment
        self._manifests[deployment.id] = dict(new.files)
        self._record(audit.created(deployment))
        self._log("deployment.create")
        return deployment

    async def find_deployment(self, deployment_id: str) -> Deployment | None:
        return self._deployments.get(deployment_id)

    async def list_deployments(self, space_id: str, query: PageQuery) -> Page[Deployment]:
        return page((each for each in self._deployments.values() if each.space_id == space_id), query)

    async def list_missing(self, deployment_id: str) -> Sequence[Digest]:
        if not (deployment := self._deployments.get(deployment_id)):
            return []
        needed = {blob.digest for blob in self._manifests[deployment_id].values()}
        return sorted(needed - self._possessions[deployment.workspace_id].keys())

    async def activate_deployment(self, deployment_id: str, *, skew: Millis = 0) -> Deployment:
        deployment = get(self._deployments, "deployment", deployment_id)
        space = self._spaces[deployment.space_id]
        if deployment.revision == space.revision:
            return deployment
        if missing := await self.list_missing(deployment_id):
            raise edits.missing_content(len(missing))
        self._check_sizes(deployment, self._manifests[deployment_id])
        manifest, tree = self._manifests[deployment_id], self._trees[space.id]
        if edits.must_match_base(deployment) and (path := tree.changed_since(manifest, deployment.base)):
            raise edits.changed_meanwhile(path, deployment.base)
        ended = [file.path for file in tree.list_live(deployment.prefix)] if deployment.mode == "replace" else ()
        self._publish(space, manifest, ended)
        self._begin_skew(space.id, len(set(ended) - manifest.keys()), skew)
        revision = self._next_revision()
        activated = replace(deployment, revision=revision, activated_at=self._clock())
        self._deployments[deployment_id] = activated
        self._record(audit.updated(deployment, activated, "activate"))
        self._spaces[space.id] = replace(space, revision=revision)
        self._log("deployment.activate", space_id=space.id)
        return activated

    # What the verbs share.

    def _check_sizes(self, deployment: Deployment, manifest: Mapping[str, Blob]) -> None:
        known = self._possessions[deployment.workspace_id]
        if wrong := [path for path, blob in manifest.items() if known.get(blob.digest, blob.size) != blob.size]:
            raise edits.wrong_size(min(wrong))

    def _next_revision(self) -> int:
        return len(self._changes) + 1

    def _log(
        self, kind: str, hosts: tuple[str, ...] = (), space_id: str | None = None, *, widget: str | None = None
    ) -> None:
        revision = self._next_revision()
        change = Change(revision=revision, kind=kind, hosts=hosts, space_id=space_id, widget=widget)
        self._changes.append(change)
        self._announce(revision)

    def _publish(self, space: Space, files: Mapping[str, Blob], ended: Collection[str]) -> bool:
        """Whether anything changed; then the caller logs it."""
        tree, revision = self._trees[space.id], self._next_revision()
        now = stamp(self._clock(), self._settings_at[space.id])
        begun, gone = tree.publish(files, ended, revision, now)
        if len(begun) > len(gone):
            count = self._count_files(space.workspace_id) + len(begun) - len(gone)
            self._check_quota(edits.FILES, space.workspace_id, count)
        tree.apply(begun, gone)
        if begun or gone:
            self._spaces[space.id] = replace(space, revision=revision)
        return bool(begun or gone)

    async def measure_workspace(self, workspace_id: str) -> Usage:
        return Usage(
            sites=self._count_sites(workspace_id),
            files=self._count_files(workspace_id),
            bytes=sum(self._possessions.get(workspace_id, {}).values()),
            widgets=self._count_widgets(workspace_id),
        )

    def _digests(self, space_id: str, paths: Iterable[str]) -> dict[str, Digest]:
        """What is live at each of them."""
        tree = self._trees[space_id]
        return {path: live.digest for path in paths if (live := tree.find_live(path))}

    def _count_sites(self, workspace_id: str) -> int:
        return sum(site.workspace_id == workspace_id for site in self._sites.values())

    def _count_files(self, workspace_id: str) -> int:
        own = (space.id for space in self._spaces.values() if space.workspace_id == workspace_id)
        return sum(len(self._trees[space_id].list_live("")) for space_id in own)

    def _stamp_settings(self, site: Site, now: Millis) -> Site:
        site = edits.stamp_settings(site, self._trees[site.space_id].last_changed_at(), now)
        self._settings_at[site.space_id] = max(self._settings_at[site.space_id], site.settings_at or 0)
        return site

    def _refuse_site(self, site: Site, required: Iterable[tuple[str, str]]) -> None:
        for label, path in required:
            if not self._trees[site.space_id].find_live(path):
                raise edits.missing_file(label, path)
        if self._domains.get(site.domain, site.id) != site.id:
            raise Conflict("site", "domain", site.domain)
        refuse_taken_alias("site", site, self._sites.values())
