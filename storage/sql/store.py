"""The metadata contract on SQLite and PostgreSQL: one class out of the verbs of each kind of value."""

from __future__ import annotations

from collections.abc import Callable

from storage.calls import Actor
from storage.clock import now_ms
from storage.models import Millis
from storage.sql.calls import CallVerbs
from storage.sql.copies import CopyVerbs
from storage.sql.database import Database
from storage.sql.deployments import DeploymentVerbs
from storage.sql.edge import EdgeVerbs
from storage.sql.engines import parse_url
from storage.sql.failures import starting
from storage.sql.files import FileVerbs
from storage.sql.keys import KeyVerbs
from storage.sql.possessions import PossessionVerbs
from storage.sql.purges import PurgeVerbs
from storage.sql.sites import SiteVerbs
from storage.sql.spaces import SpaceVerbs
from storage.sql.variants import VariantVerbs
from storage.sql.widgets import WidgetVerbs
from storage.sql.workspaces import WorkspaceVerbs


class SqlMetadata(
    EdgeVerbs,
    CallVerbs,
    WorkspaceVerbs,
    KeyVerbs,
    SpaceVerbs,
    SiteVerbs,
    FileVerbs,
    CopyVerbs,
    PossessionVerbs,
    VariantVerbs,
    DeploymentVerbs,
    WidgetVerbs,
    PurgeVerbs,
):
    """See `storage.metadata.MetadataStore`; made by `open_sql`."""

    def acting(self, actor: Actor) -> SqlMetadata:
        return SqlMetadata(self._database.acting(actor))

    async def close(self) -> None:
        await self._database.close()


async def open_sql(
    url: str, *, clock: Callable[[], Millis] = now_ms, announce: Callable[[int], None] = lambda revision: None
) -> SqlMetadata:
    """The store at `url`, `sqlite:///PATH` or `postgresql://…`, whose database `migrate` has prepared.

    `announce` is told the last revision of each write once it is committed, before the verb returns; those of several
    writers may come out of order. Raises `StorageError` if the database is another version's, `Unavailable` if it is
    not reachable.
    """
    database = Database(parse_url(url), clock, announce)
    try:
        with starting():
            await database.require_version()
    except BaseException:
        await database.close()
        raise
    return SqlMetadata(database)
