"""The control API as a process of the server runs it: what it is told of this machine."""

from __future__ import annotations

from collections.abc import Coroutine

from server.certificate import read_certificate
from server.control.app import create_app
from server.control.config import ControlConfig, Readiness
from server.control.data_connections import Connections
from server.control.housekeeping import keep_house
from server.listeners import Listener, control_server
from server.metrics import Metrics
from server.node import NodeMap
from server.root_key import LINK_KEY_FILE, read_root_key
from server.stores import Stores
from server.tasks import Task
from server.vault import Vault


def operators_server(task: Task, stores: Stores, node: NodeMap) -> tuple[Listener, Coroutine[object, object, None]]:
    """The listener of the control API, and what goes on beside it."""
    settings = task.settings
    config = ControlConfig(
        platform_domains=settings.platform_domains,
        max_file_bytes=settings.max_file_bytes,
        requests_per_minute=settings.requests_per_minute,
        bad_credentials_per_minute=settings.bad_credentials_per_minute,
        audit_days=settings.audit_days,
        root_key_hash=task.root_key_hash,
        token_secrets=task.token_secrets,
        link_key=read_root_key(settings.data_dir / LINK_KEY_FILE).encode(),
        readiness=lambda: _readiness(node),
        certificate=read_certificate(settings.tls_cert) if settings.tls_cert else None,
        widget_base=settings.widget_base,
        visitors=settings.visitors,
        metrics=Metrics(node),
        connections=Connections(settings.data_connection_networks or ()),
        vault=Vault(settings.credential_keys_file),
    )
    app = create_app(stores.metadata, stores.blobs, config)
    return control_server(app), keep_house(stores.metadata, config)


def _readiness(node: NodeMap) -> Readiness:
    workers = {f"worker-{worker.index}": worker for worker in node.workers()}
    return Readiness(
        ready=node.ready(),
        workers={name: worker.state.name.lower() for name, worker in workers.items()},
        applied={name: worker.applied_revision for name, worker in workers.items()},
    )
