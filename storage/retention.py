"""How far back a space can be taken: which deployments are kept, and for how long what files held before.

A deployment stays while it is among its space's latest, or younger than some days; the active one and the one before
stay in any case. What files held before they ended is forgotten after the same time. Contents that nothing refers to
any longer are then a matter for `storage.collect`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from storage.models import Millis

DAY: Millis = 24 * 3_600_000


class RetentionStore(Protocol):
    """What of a metadata store forgets."""

    async def delete_deployment(self, deployment_id: str) -> None:
        """With its manifest. Raises `NotFound`; `Conflict` (field "revision") for one that has been activated."""
        ...

    async def forget_deployments(self, keep: int, before: Millis) -> int:
        """Delete those of each space that are not among its latest `keep` and were neither made nor activated since
        `before`; how many. The one that was activated last and the one before it stay.

        In several transactions, so that other writes come in between.
        """
        ...

    async def forget_history(self, before: Millis) -> int:
        """Forget what contents files had that ended before then; how many. In several transactions, too.

        When a path's last file ended stays known: the digest of that becomes "", its size 0.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How many deployments, and how many contents that files had before."""

    deployments: int
    versions: int


async def forget(metadata: RetentionStore, keep: int, before: Millis) -> Forgotten:
    """Forget what is due. May be cancelled at any time. Raises `Unavailable`."""
    deployments = await metadata.forget_deployments(keep, before)
    return Forgotten(deployments=deployments, versions=await metadata.forget_history(before))
