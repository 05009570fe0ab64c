"""TLS: the server's context, and the name that a client's handshake asked for (SNI, RFC 6066 §3).

A server that has one certificate for several names gets requests for any of them on one connection; only those for the
name of the handshake are known to be meant for what the client verified (RFC 9110 §7.4, §15.5.20).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path

EXTENSION = "spacelane.server_name"  # in an ASGI scope's extensions: the name, where there was a handshake with one

# The name, in the context of the task that serves the connection; for servers that do not show the connection to us.
server_name: ContextVar[str | None] = ContextVar("server_name", default=None)


class TlsError(Exception):
    """The certificate or the key cannot be used; the text names the file."""


class NamedConnection(ssl.SSLObject):
    """One connection's TLS, which remembers the name that the client asked for."""

    server_name: str | None = None

    @property
    def bare_read(self) -> Callable[[int], bytes]:
        """`read` as OpenSSL's binding has it, a call less: 0.1 µs of the 9 that a request takes."""
        return self._sslobj.read  # type: ignore[attr-defined, no-any-return]

    @property
    def bare_write(self) -> Callable[[bytes | memoryview | bytearray], int]:
        """`write` likewise."""
        return self._sslobj.write  # type: ignore[attr-defined, no-any-return]

    def selected_alpn_protocol(self) -> str | None:
        """As ever. A server asks it once, in the task that then serves the connection."""
        server_name.set(self.server_name)
        return super().selected_alpn_protocol()


def create_context(certificate: Path, key: Path, protocols: Sequence[str]) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with the system's ciphers. `protocols` are offered by ALPN, the preferred first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION  # RFC 9113 §9.2.1
    context.set_alpn_protocols(list(protocols))
    context.sslobject_class = NamedConnection
    context.sni_callback = _remember
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        raise TlsError(f"the certificate {certificate} with the key {key}: {exc.strerror or exc}") from exc
    return context


def _remember(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
    if isinstance(connection, NamedConnection) and name is not None:
        connection.server_name = name.lower()
