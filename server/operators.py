"""The control API as a process of the server runs it: what it is told of this machine."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from functools import partial

from server.access_log import OFF, STANDARD_OUTPUT
from server.certificate import read_certificate
from server.config import Settings
from server.control.app import create_app
from server.control.config import ControlConfig, Readiness
from server.control.data_connections import Connections
from server.control.housekeeping import end_windows, keep_house
from server.listeners import Listener, control_server
from server.metrics import Metrics
from server.node import NodeMap
from server.root_key import LINK_KEY_FILE, read_root_key
from server.stores import Stores
from server.tasks import Task
from server.traffic import Traffic, read_traffic
from server.vault import Vault


def operators_server(
    task: Task, stores: Stores, node: NodeMap
) -> tuple[Listener, Sequence[Coroutine[object, object, None]]]:
    """The listener of the control API, and what goes on beside it."""
    settings = task.settings
    config = ControlConfig(
        platform_domains=settings.platform_domains,
        preview_keys=task.preview_keys,
        skew=settings.skew_minutes * 60_000,
        max_file_bytes=settings.max_file_bytes,
        max_archive_bytes=settings.max_archive_bytes,
        max_unpacked_bytes=settings.max_unpacked_bytes,
        requests_per_minute=settings.requests_per_minute,
        bad_credentials_per_minute=settings.bad_credentials_per_minute,
        audit_days=settings.audit_days,
        body_folder=settings.data_dir,
        root_key_hash=task.root_key_hash,
        token_secrets=task.token_secrets,
        link_key=read_root_key(settings.data_dir / LINK_KEY_FILE).encode(),
        readiness=lambda: _readiness(node),
        certificate=read_certificate(settings.tls_cert) if settings.tls_cert else None,
        widget_base=settings.widget_base,
        visitors=settings.visitors,
        metrics=Metrics(node),
        traffic=partial(known_traffic, settings),
        connections=Connections(settings.data_connection_networks or ()),
        vault=Vault(settings.credential_keys_file),
    )
    app = create_app(stores.metadata, stores.blobs, config)
    return control_server(app), (keep_house(stores.metadata, config), end_windows(stores.metadata))


def known_traffic(settings: Settings, sites: Collection[str]) -> Traffic:
    """Where there is a log that tells of sites."""
    if settings.access_log in (OFF, STANDARD_OUTPUT) or settings.access_log_format != "json":
        return Traffic()
    return read_traffic(settings.data_dir / settings.access_log, sites)


def _readiness(node: NodeMap) -> Readiness:
    workers = {f"worker-{worker.index}": worker for worker in node.workers()}
    return Readiness(
        ready=node.ready(),
        workers={name: worker.state.name.lower() for name, worker in workers.items()},
        applied={name: worker.applied_revision for name, worker in workers.items()},
    )
