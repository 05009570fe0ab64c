"""HTTP/1.1 by plain sockets, for what no client library would send or show."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Self


@dataclass
class Answer:
    """One answer as it came; header names in lower case, repeated ones in order."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value, None if it is absent; it must not be repeated."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None


class Wire:
    """A connection to 127.0.0.1. Reading raises TimeoutError after ten seconds without a byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, method: str = "GET") -> Answer:
        """The next answer; `method` is what it answers."""
        head, self._buffer = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        answer = Answer(int(status), [], b"")
        for line in lines:
            name, _, value = line.partition(": ")
            answer.headers.append((name.lower(), value))
        if method != "HEAD" and answer.status not in (204, 304):
            length = int(answer.header("content-length") or "0")
            while len(self._buffer) < length:
                self._fill()
            answer.body, self._buffer = self._buffer[:length], self._buffer[length:]
        return answer

    def at_end(self) -> bool:
        """Whether the server has nothing more to say and ends the connection; waits until it does one or the other."""
        if self._buffer:
            return False
        try:
            self._buffer = self.socket.recv(65536)
        except ConnectionResetError:
            return True
        return not self._buffer

    def _until(self, mark: bytes) -> tuple[bytes, bytes]:
        while mark not in self._buffer:
            self._fill()
        before, _, after = self._buffer.partition(mark)
        return before, after

    def _fill(self) -> None:
        self.take(65536)

    def take(self, size: int) -> None:
        """Read up to that many bytes, for `receive` to make an answer of."""
        data = self.socket.recv(size)
        if not data:
            raise EOFError(f"the connection ended behind {self._buffer!r}")
        self._buffer += data


def exchange(port: int, request: bytes, method: str = "GET") -> Answer:
    """One answer on a connection of its own."""
    with Wire(port) as wire:
        wire.send(request)
        return wire.receive(method)


def get(port: int, host: str, path: str = "/", *headers: str, method: str = "GET") -> Answer:
    """One well-formed request's answer."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return exchange(port, "\r\n".join(lines).encode(), method)
