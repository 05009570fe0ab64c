"""`spacelane serve`: prepares, then serves in this process or supervises several.

1. the data directory, the database's schema, the root key, the node map
2. the listening sockets, which every process shares
3. the processes that serve, one of which this may be (`supervisor`)
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import http.client
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from server import supervisor, worker
from server.access_log import AccessLogError, check_access_log
from server.certificate import read_certificate
from server.config import Address, Settings
from server.control.config import DEFAULT_WORKSPACE_ID
from server.doors.tls import TlsError
from server.logs import configure_logging, get_logger
from server.node import NodeMap, NodeMapError
from server.root_key import LINK_KEY_FILE, ROOT_KEY_FILE, RootKeyError, make_root_key
from server.stores import migrate_stores, open_stores
from server.tasks import Task
from server.token_secrets import TOKEN_SECRETS_FILE, make_token_secrets
from server.vault import make_keys
from storage.errors import StorageError
from storage.ids import new_secret

T = TypeVar("T")

LOCK_FILE = "lock"
BACKLOG = 4096

logger = get_logger("spacelane")


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


def serve(settings: Settings, on_ready: Callable[[Settings], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. `on_ready` is called once, in a thread, when every worker serves,
    with the settings in which ports that the system chose are filled in."""
    configure_logging(settings.log_level)
    os.umask(0o077)  # whatever is made here is the operator's own
    try:
        _check_certificate(settings)
        _lock(settings.data_dir)
        check_access_log(settings.access_log, settings.data_dir)
        edge, control = _bind(settings.edge), _bind(settings.control)
        root_key_hash, token_secrets = _prepare(settings)
    except (StartError, StorageError, NodeMapError, TlsError, AccessLogError) as exc:
        print(f"spacelane cannot start: {exc}", file=sys.stderr)
        return 1
    settings = settings.model_copy(update={"edge": _bound(edge), "control": _bound(control)})
    task = Task(settings=settings, edge=edge, control=control, root_key_hash=root_key_hash, token_secrets=token_secrets)
    threading.Thread(target=_announce, args=(settings, on_ready), daemon=True).start()
    return supervisor.run(task, settings.worker_count)


def _check_certificate(settings: Settings) -> None:
    """So that a bad one is told before anything starts."""
    worker.tls_context(settings)
    if settings.tls_cert is not None:
        try:
            read_certificate(settings.tls_cert)
        except ValueError as exc:
            raise StartError(f"the certificate {settings.tls_cert}: {exc}") from exc


def _lock(directory: Path) -> None:
    """Make the data directory, and hold it as long as this process lives: two servers in one would share a node map."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise StartError(f"another server uses {directory}; stop it, or choose another with --data-dir") from exc
    except OSError as exc:
        raise StartError(f"the data directory {directory}: {exc.strerror}; choose another with --data-dir") from exc


def _prepare(settings: Settings) -> tuple[str, tuple[str, ...]]:
    """Make what is missing; the hash of the root key, and what tokens are signed with."""
    directory = settings.data_dir
    secret = settings.root_key.get_secret_value() if settings.root_key else _make_key(directory / ROOT_KEY_FILE)
    _make_key(directory / LINK_KEY_FILE, secrets.token_hex)
    keys = settings.credential_keys_file
    _made(keys, lambda: make_keys(keys), "put back what it was: without its keys, sites' credentials are lost")
    given = tuple(each.get_secret_value() for each in settings.token_secrets or ())
    path = directory / TOKEN_SECRETS_FILE
    token_secrets = given or _made(path, lambda: make_token_secrets(path))
    try:
        revision = asyncio.run(_prepare_stores(settings))
    except ValueError as exc:  # of the database's URL, what only the store knows
        raise StartError(f"database_url: {exc}; give another with --database-url") from exc
    NodeMap.create(directory / worker.NODE_FILE, settings.worker_count, revision).close()
    return hashlib.sha256(secret.encode()).hexdigest(), token_secrets


def _make_key(path: Path, new: Callable[[], str] = new_secret) -> str:
    return _made(path, lambda: make_root_key(path, new))


def _made(path: Path, make: Callable[[], T], remedy: str = "delete it, so that a new one is made") -> T:
    """What is in the file, or was put there now."""
    try:
        return make()
    except OSError as exc:
        raise StartError(f"the key {path}: {exc.strerror}") from exc
    except RootKeyError as exc:
        raise StartError(f"{exc}; {remedy}") from exc


async def _prepare_stores(settings: Settings) -> int:
    await migrate_stores(settings)
    async with open_stores(settings) as stores:
        await stores.metadata.put_workspace(DEFAULT_WORKSPACE_ID, "default")
        return await stores.metadata.get_revision()


def _bind(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
    except OSError as exc:
        raise StartError(
            f"cannot listen on {address}: {exc.strerror}. Stop what uses it, or choose another address with --edge "
            "and --control."
        ) from exc
    return sock


def _bound(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def _announce(settings: Settings, on_ready: Callable[[Settings], None] | None) -> None:
    """Once every worker serves, say so."""
    while not _is_ready(settings.control):
        time.sleep(0.05)
    logger.info("serving", visitors=settings.visitors, operators=f"http://{settings.control}")
    if on_ready is not None:
        on_ready(settings)


def _is_ready(control: Address) -> bool:
    connection = http.client.HTTPConnection(control.nearby.host, control.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
