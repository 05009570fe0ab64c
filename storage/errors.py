"""What can go wrong in a store. Few, small, ours: foreign exceptions are mapped where they arise."""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything a store raises on purpose."""


class NotFound(StorageError):
    """`kind` (such as "space") named by `ref` does not exist."""

    def __init__(self, kind: str, ref: str) -> None:
        super().__init__(f"{kind} {ref!r} does not exist")
        self.kind = kind
        self.ref = ref


class Conflict(StorageError):
    """`value` of `field` is already held by another `kind`, or changed meanwhile. Nothing was written."""

    def __init__(self, kind: str, field: str, value: str, message: str = "") -> None:
        super().__init__(message or f"another {kind} already has the {field} {value!r}")
        self.kind = kind
        self.field = field
        self.value = value


class Invalid(StorageError):
    """The caller's value for `field` cannot be kept; the text says why and how to mend it. Nothing was written."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(StorageError):
    """More bytes arrived than `limit`. Nothing was kept."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"larger than the limit of {limit} bytes")
        self.limit = limit


class QuotaExceeded(StorageError):
    """More than the workspace's `limit`, so called by the API, allows. Nothing was written."""

    def __init__(self, limit: str, allowed: int, remedy: str) -> None:
        super().__init__(
            f"This would pass the workspace's {limit} of {allowed}: {remedy}, or ask whoever runs this server to "
            "raise it"
        )
        self.limit = limit
        self.allowed = allowed


class Unavailable(StorageError):
    """The store cannot be reached now; trying again later may work."""


class OutOfSpace(Unavailable):
    """The store has no room left; trying again helps once its operator has made some."""


class Corrupt(StorageError):
    """Kept bytes are missing or no longer match their digest."""
