"""The disk's errors as ours, without the paths that theirs name."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import OutOfSpace, Unavailable


@contextmanager
def medium(what: str) -> Iterator[None]:
    """Raises `OutOfSpace` or `Unavailable`, which say that `what` has failed, for an `OSError`."""
    try:
        yield
    except OSError as exc:
        kind = OutOfSpace if exc.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable
        raise kind(f"{what} failed: {exc.strerror or type(exc).__name__}") from exc
