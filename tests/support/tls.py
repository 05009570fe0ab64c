"""TLS for tests: a certificate, and a client whose every byte is in their hand."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tests.support.wire import Wire

RECORD_BYTES = 16 * 1024


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def pem(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for three hosts, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("a.test", "b.test", "a.localhost")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    return directory / "cert.pem", directory / "key.pem"


def trusting(authority: trustme.CA, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A client's context, which speaks that version only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.minimum_version = context.maximum_version = version
    return context


class TlsWire(Wire):
    """A connection whose TLS is made in memory, so that a test decides what is sent of it, and when."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str = "a.test") -> None:
        super().__init__(port)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.name = name

    def shake_hands(self) -> TlsWire:
        """Finish the handshake. Raises `ssl.SSLError`, EOFError if the server ends the connection."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._take()
            else:
                self.flush()
                return self

    def begin(self) -> None:
        """The handshake, as far as the server's part goes; `shake_hands` sends the rest."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.flush()
        while True:
            self._take()
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                return

    def encrypt(self, data: bytes) -> bytes:
        """What carries `data`."""
        self.tls.write(data)
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        self.socket.sendall(self.encrypt(data))

    def get(self, path: str, *headers: str) -> None:
        """Send a request for it."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.name}", *headers, "", ""]
        self.send("\r\n".join(lines).encode())

    def flush(self) -> None:
        """Send what TLS has to say."""
        self.socket.sendall(self._outgoing.read())

    def say_goodbye(self) -> None:
        """Send close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            self.flush()

    def at_end(self) -> bool:
        """Whether the server ends the connection as TLS wants it, with close_notify, and says no more."""
        try:
            self._fill()
        except EOFError:
            return not self._buffer
        return False

    def rest(self) -> bytes:
        """All that comes up to close_notify."""
        try:
            while True:
                self._fill()
        except EOFError:
            return self._buffer

    def _fill(self) -> None:
        """Raises EOFError at close_notify, ConnectionError where the connection ends without it."""
        while True:
            try:
                data = self.tls.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                self._take()
            except ssl.SSLZeroReturnError:
                data = b""
                break
            else:
                break
        if not data:
            raise EOFError(f"the connection ended behind {self._buffer[:1000]!r}")
        self._buffer += data

    def _take(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the connection ended without close_notify")
        self._incoming.write(data)
