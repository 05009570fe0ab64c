"""What ends by itself: answers kept for a repeated call, after a day; the audit log, after its retention; windows of
skew protection, when they are over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from server.control.config import ControlConfig
from server.control.idempotency import KEPT, MAX_KEPT
from storage.metadata import MetadataStore
from storage.models import Millis

INTERVAL = 60.0  # seconds
WINDOW_INTERVAL = 1.0  # seconds: how late a window may end
DAY: Millis = 24 * 3_600_000


async def keep_house(metadata: MetadataStore, config: ControlConfig) -> None:
    """Forget what is due, now and each minute, for ever."""
    await _repeat(lambda: forget_once(metadata, config), INTERVAL)


async def end_windows(metadata: MetadataStore) -> None:
    """End the windows of skew protection that are over, now and each second, for ever."""
    await _repeat(lambda: _until_nothing(metadata.end_skew), WINDOW_INTERVAL)


async def _repeat(work: Callable[[], Awaitable[None]], interval: float) -> None:
    while True:
        try:
            await work()
        except Exception as exc:  # what is not done now is later; nothing may take the API along
            structlog.get_logger("spacelane.control").warning("control.housekeeping", failure=repr(exc))
        await asyncio.sleep(interval)


async def forget_once(metadata: MetadataStore, config: ControlConfig) -> None:
    """Forget all that is due. A store forgets some at a time, so that other writes pass in between."""
    now = config.clock()
    await _until_nothing(lambda: metadata.forget_attempts(now - KEPT, MAX_KEPT))
    await _until_nothing(lambda: metadata.forget_audit(now - config.audit_days * DAY))


async def _until_nothing(forget: Callable[[], Awaitable[int]]) -> None:
    while await forget():
        pass
