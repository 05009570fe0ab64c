"""What the control API forgets: answers kept for a repeated call, after a day; the audit log, after its retention."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from server.control.config import ControlConfig
from server.control.idempotency import KEPT, MAX_KEPT
from storage.metadata import MetadataStore
from storage.models import Millis

INTERVAL = 60.0  # seconds
DAY: Millis = 24 * 3_600_000


async def keep_house(metadata: MetadataStore, config: ControlConfig) -> None:
    """Forget what is due, now and each minute, for ever."""
    while True:
        try:
            await forget_once(metadata, config)
        except Exception as exc:  # what is not forgotten now is later; nothing may take the API along
            structlog.get_logger("spacelane.control").warning("control.housekeeping", failure=repr(exc))
        await asyncio.sleep(INTERVAL)


async def forget_once(metadata: MetadataStore, config: ControlConfig) -> None:
    """Forget all that is due. A store forgets some at a time, so that other writes pass in between."""
    now = config.clock()
    await _until_nothing(lambda: metadata.forget_attempts(now - KEPT, MAX_KEPT))
    await _until_nothing(lambda: metadata.forget_audit(now - config.audit_days * DAY))


async def _until_nothing(forget: Callable[[], Awaitable[int]]) -> None:
    while await forget():
        pass
