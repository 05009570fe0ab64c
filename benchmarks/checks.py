"""Every kind of answer is looked at before it is timed: its status, its coding, its bytes against the file's."""

from __future__ import annotations

import gzip
import http.client
import io
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx

from benchmarks.corpus import DOMAIN, Corpus
from benchmarks.generator import MARK
from benchmarks.peers.base import Place
from benchmarks.processes import BenchError
from benchmarks.work import Work

if TYPE_CHECKING:
    from typing_extensions import Buffer


def _brotli(content: bytes) -> bytes:
    import brotli

    decoded: bytes = brotli.decompress(content)
    return decoded


DECODERS: Mapping[str, Callable[[bytes], bytes]] = {"br": _brotli, "gzip": gzip.decompress}


@dataclass(frozen=True, slots=True)
class Answer:
    """`length` is that of all its bytes, head included; by HTTP/2, of the body. Names of headers are in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    length: int


class Visitor(Protocol):
    """Asks a server for one thing after another."""

    def ask(self, request: bytes) -> Answer:
        """Send it and read the whole answer. Raises `BenchError` if there is none."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def visit(place: Place) -> Visitor:
    """By the protocol that the server is driven by."""
    return _Http2(place) if place.setting.http2 else _Http1(place)


class _Http1:
    """A connection that is opened anew if the server closes it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sock: socket.socket | None = None

    def ask(self, request: bytes) -> Answer:
        try:
            if self._sock is None:
                self._sock = self._connect()
            self._sock.sendall(request)
            return self._read(self._sock)
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise BenchError(f"no answer to {_line(request)}: {exc!r}") from exc

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._place.port), timeout=30)
        if not self._place.setting.tls:
            return sock
        return _tls(self._place).wrap_socket(sock, server_hostname=DOMAIN)

    def _read(self, sock: socket.socket) -> Answer:
        counted = _Counted(sock)
        response = http.client.HTTPResponse(counted)  # type: ignore[arg-type]
        response.begin()
        body = response.read()
        closes = response.will_close
        response.close()
        if closes:
            self.close()
        return Answer(response.status, response.headers, body, counted.count)  # type: ignore[arg-type]


class _Counted(io.RawIOBase):
    """A socket as `http.client` wants one: with a file, whose bytes are counted as they come."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.count = 0

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        got = self._sock.recv_into(buffer)
        self.count += got
        return got


class _Http2:
    """The same over HTTP/2."""

    def __init__(self, place: Place) -> None:
        self._url = f"https://127.0.0.1:{place.port}"
        self._http = httpx.Client(http1=False, http2=True, verify=_tls(place, _OnlyHttp2), timeout=30)
        self._http.headers.clear()  # its own, `Connection` among them, which HTTP/2 forbids

    def ask(self, request: bytes) -> Answer:
        host, path = target(request)
        lines = (line.partition(": ") for line in request.decode().split("\r\n")[1:] if line)
        # Connection is no header of HTTP/2.
        headers = {name: value for name, _, value in lines if name != "Connection"}
        try:
            answer = self._http.get(self._url + path, headers=headers, extensions={"sni_hostname": host})
        except httpx.TransportError as exc:
            raise BenchError(f"no answer to {_line(request)} over HTTP/2: {exc!r}") from exc
        return Answer(answer.status_code, answer.headers, answer.content, len(answer.content))

    def close(self) -> None:
        self._http.close()


class _OnlyHttp2(ssl.SSLContext):
    """httpx offers HTTP/1.1 first even where it is to speak nothing but HTTP/2, and some servers take what is first."""

    def set_alpn_protocols(self, _protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2"])


def _tls(place: Place, kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
    """A context that trusts the server's certificate and nothing else."""
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(place.certificate.authority)
    return context


def check(work: Work, corpus: Corpus, visitor: Visitor) -> dict[str, int]:
    """Ask what the first client asks, and what each other asks first: the length of each answer, by `lengths_key`.

    Raises `BenchError` that says which answer is wrong, and how.
    """
    lengths: dict[str, int] = {}
    samples = dict.fromkeys([*work.clients[0], *(client[0] for client in work.clients)])
    for number, request in enumerate(samples):
        sent = request.replace(MARK, b"%010d" % number)
        answer = visitor.ask(sent)
        _check_answer(answer, sent, work, corpus)
        known = lengths.setdefault(lengths_key(request), answer.length)
        if known != answer.length:
            raise BenchError(f"{_line(sent)} is answered with {known} and with {answer.length} bytes")
    return lengths


def lengths_key(request: bytes) -> str:
    """By what the length of an answer is known: host and path."""
    host, path = target(request)
    return host + path


def target(request: bytes) -> tuple[str, str]:
    """(host, path) of a request."""
    match = re.match(rb"GET (\S+) HTTP/1\.1\r\nHost: (\S+)\r\n", request)
    assert match
    return match[2].decode(), match[1].decode()


def _check_answer(answer: Answer, request: bytes, work: Work, corpus: Corpus) -> None:
    if answer.status != work.status:
        raise BenchError(f"{_line(request)} is answered with {answer.status}, not {work.status}")
    if work.status == 304:
        if answer.body:
            raise BenchError(f"{_line(request)} is answered with a 304 that has a body")
        return
    coding = answer.headers.get("Content-Encoding")
    if coding != work.coding:
        raise BenchError(f"{_line(request)} is answered in the coding {coding}, not {work.coding}")
    body = DECODERS[coding](answer.body) if coding else answer.body
    expected = corpus.content(*target(request))
    wanted = re.search(rb"\r\nRange: bytes=(\d+)-(\d+)\r\n", request)
    if wanted:
        expected = expected[int(wanted[1]) : int(wanted[2]) + 1]
    if body != expected:
        raise BenchError(f"{_line(request)} is answered with other bytes than the file's")


def _line(request: bytes) -> str:
    return request.partition(b"\r\n")[0].decode()
