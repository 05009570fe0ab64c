"""What can be wrong with a server's machine, looked at without changing anything.

Each check gives findings: what was looked at, how it is, and what to do if it is not well. The server may be running
or not; where it is, `visitors` is the address at which it says that it answers them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from server.certificate import read_certificate
from server.config import Address, Settings
from server.root_key import LINK_KEY_FILE, ROOT_KEY_FILE
from server.stores import read_revision
from server.token_secrets import TOKEN_SECRETS_FILE
from storage.errors import StorageError

State: TypeAlias = Literal["ok", "warn", "fail"]

ENOUGH_BYTES, FEW_BYTES = 1_000_000_000, 100_000_000  # free on the disk
ENOUGH_PERCENT = 10
EXPIRY_DAYS = 14
CLOCK_SECONDS = 2.0  # between this clock and the server's
PRIVILEGED = 1024

_UNSYNCHRONISED = 5  # what adjtimex answers where nothing keeps the clock right (adjtimex(2), TIME_ERROR)
_TIMEX_BYTES = 512  # more than its structure has on any platform


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is. `next_step` says what to do where it is not "ok"."""

    check: str
    state: State
    words: str
    next_step: str = ""


def check_directory(settings: Settings) -> Finding:
    """Whether the data directory is there and our own."""
    directory = settings.data_dir
    if not directory.is_dir():
        return Finding(
            "data",
            "warn",
            f"{directory} does not exist yet",
            "`spacelane serve` makes it; or say where with --data-dir.",
        )
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return Finding("data", "fail", f"{directory} cannot be written", "Run as the user that runs the server.")
    return Finding("data", "ok", str(directory))


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Whether anybody else may read the files that hold secrets."""
    for name in (ROOT_KEY_FILE, LINK_KEY_FILE, TOKEN_SECRETS_FILE):
        path = settings.data_dir / name
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # made when the server first starts, or not needed
        if mode & 0o077:
            yield Finding(
                "keys",
                "fail",
                f"{path} can be read by others: mode {mode:04o}",
                f"chmod 600 {path}; then make new keys.",
            )
        else:
            yield Finding("keys", "ok", f"{path}, mode {mode:04o}")


def check_space(settings: Settings) -> Finding:
    """Whether the disk has room."""
    place = next(each for each in (settings.data_dir, *settings.data_dir.absolute().parents) if each.exists())
    usage = shutil.disk_usage(place)
    percent = 100 * usage.free // usage.total
    words = f"{usage.free / 1e9:,.1f} GB free, {percent}% of the disk of {place}"
    if usage.free < FEW_BYTES:
        return Finding("disk", "fail", words, "Make room: uploads fail when it is full. `spacelane collect` helps.")
    if usage.free < ENOUGH_BYTES or percent < ENOUGH_PERCENT:
        return Finding("disk", "warn", words, "Make room before it is full. `spacelane collect` helps.")
    return Finding("disk", "ok", words)


def check_listener(name: str, address: Address, ours: str | None) -> Finding:
    """Whether the address is free or, as the URL `ours` says, the server's."""
    if ours is not None and _is_same(address, ours):
        return Finding(name, "ok", f"{address} is ours")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            sock.listen()
    except OSError as exc:
        return Finding(name, "fail", f"{address}: {exc.strerror}", _listen_advice(name, address, exc))
    return Finding(name, "ok", f"{address} is free")


def _listen_advice(name: str, address: Address, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"Stop what uses it (`ss -ltnp sport = :{address.port}` names it), or choose another with --{name}."
    if exc.errno == errno.EACCES and address.port < PRIVILEGED:
        return (
            f"Ports below {PRIVILEGED} need a privilege: grant CAP_NET_BIND_SERVICE, or choose another with --{name}."
        )
    return f"Choose an address of this machine with --{name}."


def _is_same(address: Address, url: str) -> bool:
    parts = urlsplit(url)
    return parts.port == address.port and parts.hostname in (address.host, address.nearby.host)


async def check_database(settings: Settings) -> Finding:
    """Whether the database answers, and is of this version."""
    try:
        revision = await read_revision(settings)
    except (StorageError, ValueError) as exc:
        return Finding("database", "fail", str(exc), "Start `spacelane serve`, which migrates it; its log says more.")
    if revision is None:
        advice = "`spacelane serve` makes it; or say where with --data-dir."
        return Finding("database", "warn", "there is none yet", advice)
    return Finding("database", "ok", f"reachable, of this version, at revision {revision}")


def check_certificate(settings: Settings, now: float) -> Finding:
    """Whether the certificate can be read and lasts; `now` in seconds since the epoch."""
    path = settings.tls_cert
    if path is None:
        return Finding("certificate", "ok", "none: visitors are served without TLS")
    try:
        certificate = read_certificate(path)
    except (OSError, ValueError) as exc:
        return Finding("certificate", "fail", f"{path}: {exc}", "Give the PEM file of a certificate with --tls-cert.")
    end = datetime.fromtimestamp(certificate.ends_at / 1000, UTC).strftime("%Y-%m-%d")
    days = (certificate.ends_at / 1000 - now) / 86_400
    words = f"{path}, for {', '.join(sorted(certificate.names)) or 'no name'}, until {end}"
    if days < 0 or now * 1000 < certificate.begins_at:
        return Finding("certificate", "fail", f"{words}: not valid now", "Renew it, then send the server SIGHUP.")
    if days < EXPIRY_DAYS:
        return Finding(
            "certificate", "warn", f"{words}: {days:.0f} days left", "Renew it, then send the server SIGHUP."
        )
    return Finding("certificate", "ok", words)


def check_clock(ahead: float | None, *, kept: bool | None) -> Finding:
    """`ahead`: seconds that this machine's clock is ahead of the server's; `kept`: whether something keeps it right.
    None where that is not known."""
    if ahead is not None and abs(ahead) > CLOCK_SECONDS:
        words = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
        return Finding("clock", "fail", words, "Set the clocks of both by NTP: tokens and links end by them.")
    if kept is False:
        return Finding("clock", "warn", "nothing keeps it right", "Run an NTP client, such as chrony.")
    return Finding("clock", "ok", "kept right" if kept else "as the server's" if ahead is not None else "not compared")


def is_clock_kept() -> bool | None:
    """What the kernel says of its clock; None where it cannot be asked."""
    try:
        answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != _UNSYNCHRONISED
