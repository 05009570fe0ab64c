"""What is done for a site of the Sites API once it is deleted, until nothing of it is left.

1. its sessions and transcripts go, some at a time
2. its OAuth tokens are revoked, again and again with longer pauses if a provider is away, for a week at most
3. its credentials are wiped, and the audit log tells what was done

What is to do is in the database, so that it outlives this process; several may work on one store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from server.logs import get_logger
from server.vault import Vault
from storage.clock import now_ms
from storage.errors import Corrupt
from storage.metadata import MetadataStore
from storage.models import Millis
from storage.widgets import Outcome, Purge

if TYPE_CHECKING:
    from server.revocation import Provider

SECOND: Millis = 1000
HOUR: Millis = 3_600 * SECOND

EVERY_SECONDS = 10.0  # how often it is looked for work: one read by an index
AT_ONCE = 20  # purges of one look
SESSIONS_AT_ONCE = 1000  # removed in one write, while which all others wait
LEASE: Millis = 10 * 60 * SECOND  # after which another takes over from one that died at it
FIRST_PAUSE: Millis = 60 * SECOND
LONGEST_PAUSE: Millis = 6 * HOUR
GIVE_UP: Millis = 7 * 24 * HOUR  # tokens are wiped by then, revoked or not

logger = get_logger("spacelane.purger")


def pause_after(attempts: int) -> Millis:
    """How long to wait before the next attempt."""
    return min(FIRST_PAUSE << min(attempts - 1, 20), LONGEST_PAUSE)


class Purger:
    """The background job."""

    def __init__(
        self,
        metadata: MetadataStore,
        vault: Vault,
        *,
        providers: Mapping[str, Provider] | None = None,
        clock: Callable[[], Millis] = now_ms,
    ) -> None:
        """`providers` by name; None: those of the file."""
        self._metadata = metadata
        self._vault = vault
        self._providers = providers
        self._clock = clock

    async def run(self, every: float = EVERY_SECONDS) -> None:
        """For ever, looking `every` so many seconds. What goes wrong is tried again the next time."""
        while True:
            try:
                await self.work()
            except Exception as exc:  # no site's remains may keep others, or this process, from their work
                logger.error("deleted sites cannot be purged now", reason=repr(exc))
            await asyncio.sleep(every)

    async def work(self) -> None:
        """Do what is due, side by side: no site waits for the providers of another. Raises `StorageError`."""
        due = await self._metadata.list_purges(self._clock(), AT_ONCE)
        outcomes = await asyncio.gather(*map(self._claim, due), return_exceptions=True)
        if failures := [outcome for outcome in outcomes if outcome is not None]:
            raise failures[0]

    async def _claim(self, purge: Purge) -> None:
        if claimed := await self._metadata.claim_purge(purge, self._clock() + LEASE):
            await self._purge(claimed)

    async def _purge(self, purge: Purge) -> None:
        gone = 0
        while removed := await self._metadata.purge_sessions(purge, SESSIONS_AT_ONCE):
            gone += removed
        if gone:
            logger.info("purged the sessions of a deleted site", site_id=purge.site_id, sessions=gone)
        outcomes = await self._revoke_all(purge)
        if "pending" in outcomes and self._clock() - purge.created_at >= GIVE_UP:
            outcomes = tuple("given_up" if outcome == "pending" else outcome for outcome in outcomes)
        attempts = purge.attempts + 1
        done = replace(purge, outcomes=outcomes, attempts=attempts, due_at=self._clock() + pause_after(attempts))
        await self._metadata.save_purge(done)
        if "pending" not in outcomes:
            await self._metadata.finish_purge(done)
            logger.info(
                "a deleted site is purged", site_id=purge.site_id, connections=list(outcomes), attempts=attempts
            )

    async def _revoke_all(self, purge: Purge) -> tuple[Outcome, ...]:
        """What has become of each connection by now."""
        try:
            connections = await self._open(purge)
        except Corrupt as exc:
            logger.error("the tokens of a deleted site cannot be read", site_id=purge.site_id, reason=str(exc))
            return purge.outcomes or ("pending",)
        if not connections:
            return ()
        # Imported here: a server that has no such sites has no use for it.
        from server.revocation import read_providers, revoke_all

        pending: Outcome = "pending"
        # Of one whose tokens could not be read before it is only known that something is pending.
        known = len(purge.outcomes) == len(connections)
        before = purge.outcomes if known else (pending,) * len(connections)
        after = await revoke_all(self._providers or read_providers(), connections, before)
        for connection, outcome in zip(connections, after, strict=True):
            if outcome.reason:
                name = connection["provider"]
                logger.warning(
                    "tokens are not revoked yet", site_id=purge.site_id, provider=name, reason=outcome.reason
                )
        return tuple(outcome.name for outcome in after)

    async def _open(self, purge: Purge) -> Sequence[Mapping[str, Any]]:
        secret = await self._metadata.find_secret(purge.widget_id, "oauth_connections")
        if secret is None:
            return ()
        connections: list[Mapping[str, Any]] = self._vault.open(secret.sealed, purge.site_id, secret.kind)
        return connections
