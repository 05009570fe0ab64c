"""What the control API has to be told: limits, the root key, how to ask whether the edge serves."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.certificate import Certificate
from server.control.data_connections import Connections
from server.control.dns import Directory
from server.edge.preview_access import Previews
from server.metrics import Metrics
from server.traffic import Traffic
from server.vault import Vault
from storage.clock import now_ms
from storage.models import Millis

DEFAULT_WORKSPACE_ID = "workspace_default"

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether every worker serves; the state of each by its name, such as `{"worker-1": "serving"}`; and up to which
    revision each has applied what was changed."""

    ready: bool
    workers: Mapping[str, str] = field(default_factory=dict)
    applied: Mapping[str, int] = field(default_factory=dict)


def _always_ready() -> Readiness:
    return Readiness(ready=True)


def _unknown_traffic(sites: Collection[str]) -> Traffic:
    return Traffic()


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Sizes are in bytes; `root_key_hash` is the SHA-256 (hexadecimal) of a key that may do everything in
    `default_workspace_id`, which has to exist. Tokens are signed with the first of `token_secrets`, and believed if any
    of them has signed them. A key and its tokens may make `requests_per_minute` (0: as many as they like), an address
    may send `bad_credentials_per_minute`. The audit log goes back `audit_days`. What an activation removes may be shown
    for `skew` milliseconds more."""

    platform_domains: tuple[str, ...] = ("localhost",)
    max_file_bytes: int = 5 * GIB
    max_json_bytes: int = MIB // 4
    requests_per_minute: int = 60_000
    bad_credentials_per_minute: int = 100
    audit_days: int = 365
    skew: Millis = 3_600_000
    max_large_json_bytes: int = 16 * MIB  # deployment manifests, and files sent as data URLs
    max_archive_bytes: int = GIB  # of a deployment in one call
    max_unpacked_bytes: int = 5 * GIB  # of its files together
    body_folder: Path | None = None  # of bodies until they are whole or read; None: where temporary files go
    root_key_hash: str | None = None
    token_secrets: tuple[str, ...] = field(default_factory=lambda: (secrets.token_urlsafe(32),))
    preview_keys: tuple[bytes, ...] = field(default_factory=lambda: (secrets.token_bytes(32),))  # of passes; secret
    link_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))  # of links to files; secret
    default_workspace_id: str = DEFAULT_WORKSPACE_ID
    readiness: Callable[[], Readiness] = _always_ready
    certificate: Certificate | None = None  # what visitors are shown; None: they are not served over TLS
    directory: Directory = field(default_factory=Directory)
    widget_base: str = ""  # the URL of the widget's host, as pages that have its tag name it
    visitors: str | None = None  # the edge's address, such as http://127.0.0.1:8080, for tools that name a page
    metrics: Metrics = field(default_factory=Metrics)
    traffic: Callable[[Collection[str]], Traffic] = _unknown_traffic  # of sites by id; reads a file
    connections: Connections = field(default_factory=Connections)  # of the Sites API's sites, to their data
    vault: Vault = field(default_factory=Vault)  # of the credentials of those sites
    clock: Callable[[], Millis] = now_ms

    @property
    def previews(self) -> Previews:
        """Where they are, and what opens private ones, as the edge has it."""
        return Previews(
            platform_domains=self.platform_domains, keys=self.preview_keys, secure=self.certificate is not None
        )
