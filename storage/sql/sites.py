"""Sites."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import delete, func, select, update

from storage import audit, edits
from storage.errors import Conflict
from storage.models import NewSite, Page, PageQuery, Site, SitePatch
from storage.sql.database import Change, Verbs, whole
from storage.sql.dialects import is_among
from storage.sql.files import find_live
from storage.sql.quotas import check_quota
from storage.sql.rows import SITE, SPACE, has_meta
from storage.sql.sources import PATHS, paths_json
from storage.sql.tables import files, sites, spaces

_TAKEN = select(sites.c.domain).where(is_among(sites.c.domain, select(PATHS.c.path))).limit(1)


class SiteVerbs(Verbs):
    @whole
    async def create_site(self, new: NewSite) -> Site:
        async with self._database.change() as change:
            space = await SPACE.get(change, new.space_id)
            site = edits.make_site(new, space.workspace_id, change.revision, change.now)
            await _refuse_missing(change, site, edits.required_files(site))
            await change.insert(sites, SITE.values(site))
            await check_quota(change, edits.SITES, site.workspace_id)
            change.record(audit.created(site))
            change.log("site.create", [site.domain])
            return site

    @whole
    async def create_sites(self, news: Sequence[NewSite]) -> Sequence[Site]:
        async with self._database.change() as change:
            owners = {ref: (await SPACE.get(change, ref)).workspace_id for ref in sorted({n.space_id for n in news})}
            made = [edits.make_site(new, owners[new.space_id], change.revision, change.now) for new in news]
            edits.refuse_twins(made)
            for site in made:
                await _refuse_missing(change, site, edits.required_files(site))
            await _refuse_taken(change, made)
            if made:
                await change.insert_all(sites, [SITE.values(site) for site in made])
                for workspace_id in {site.workspace_id for site in made}:
                    await check_quota(change, edits.SITES, workspace_id)
                for site in made:
                    change.record(audit.created(site))
                change.log("site.create", [site.domain for site in made])
            return made

    async def find_site_by_id(self, site_id: str) -> Site | None:
        return await SITE.find(self._database, sites.c.id == site_id)

    async def find_site_by_alias(self, workspace_id: str, alias: str) -> Site | None:
        return await SITE.find(self._database, sites.c.workspace_id == workspace_id, sites.c.alias == alias)

    async def list_sites(
        self,
        space_id: str,
        query: PageQuery,
        *,
        domain: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Page[Site]:
        where = [sites.c.space_id == space_id, *has_meta(sites, meta)]
        if domain is not None:
            where.append(sites.c.domain == domain)
        return await SITE.list_page(self._database, query, *where)

    @whole
    async def update_site(self, site_id: str, patch: SitePatch) -> Site:
        async with self._database.change() as change:
            old = await SITE.get(change, site_id)
            site = edits.patch_site(old, patch, change.revision, change.now)
            await _refuse_missing(change, site, edits.required_files(site, patch))
            if edits.is_served_anew(old, site):
                site = await stamp_settings(change, site)
            await change.update(sites, SITE.values(site))
            change.record(audit.updated(old, site))
            change.log("site.update", sorted({old.domain, site.domain}))
            return site

    @whole
    async def delete_site(self, site_id: str) -> None:
        async with self._database.change() as change:
            site = await SITE.get(change, site_id)
            await change.execute(delete(sites).where(sites.c.id == site_id))
            change.record(audit.deleted(site))
            change.log("site.delete", [site.domain])


async def _refuse_taken(change: Change, made: Collection[Site]) -> None:
    """Nobody else writes meanwhile, so what is free now stays free."""
    domains = [site.domain for site in made]
    taken = await change.rows(_TAKEN, {"paths": paths_json(domains)})
    if taken:
        raise Conflict("site", "domain", taken[0].domain)
    for site in made:
        if site.alias is not None and await SITE.find(
            change, sites.c.workspace_id == site.workspace_id, sites.c.alias == site.alias
        ):
            raise Conflict("site", "alias", site.alias)


async def _refuse_missing(change: Change, site: Site, required: Iterable[tuple[str, str]]) -> None:
    for label, path in required:
        if not await find_live(change, site.space_id, path):
            raise edits.missing_file(label, path)


async def stamp_settings(change: Change, site: Site) -> Site:
    """A scan of the space's files: settings that visitors see change seldom, and files should not pay for it."""
    latest = select(func.max(files.c.modified_at).label("modified"), func.max(files.c.removed_at).label("removed"))
    row = (await change.rows(latest.where(files.c.space_id == site.space_id)))[0]
    site = edits.stamp_settings(site, max(row.modified or 0, row.removed or 0), change.now)
    later = update(spaces).where(spaces.c.id == site.space_id, spaces.c.settings_at < site.settings_at)
    await change.execute(later.values(settings_at=site.settings_at))
    return site
