"""What the server's certificate says: for which names it is, and from when to when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509

from storage.models import Millis

State: TypeAlias = Literal["valid", "mismatch", "expired", "notYetValid"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """`names` in A-labels, some of them wildcards of one label."""

    names: Collection[str]
    begins_at: Millis
    ends_at: Millis

    def judge(self, domain: str, now: Millis) -> State:
        """Whether a browser at `domain` (A-labels, possibly a wildcard itself) takes it, chain of trust aside."""
        if domain not in self.names and f"*.{domain.partition('.')[2]}" not in self.names:
            return "mismatch"
        if now < self.begins_at:
            return "notYetValid"
        return "valid" if now <= self.ends_at else "expired"


def read_certificate(path: Path) -> Certificate:
    """The first certificate of a PEM file, the server's own. Raises `OSError`, `ValueError`."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:  # without names no browser takes it (RFC 9110 §4.3.4)
        names: list[str] = []
    else:
        names = extension.value.get_values_for_type(x509.DNSName)
    return Certificate(
        names=frozenset(name.lower() for name in names),
        begins_at=_millis(certificate.not_valid_before_utc),
        ends_at=_millis(certificate.not_valid_after_utc),
    )


def _millis(time: datetime) -> Millis:
    return (time - _EPOCH) // timedelta(milliseconds=1)
