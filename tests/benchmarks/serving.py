"""A server of any answers, for what drives and judges servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def answering(answer: Callable[[socket.socket, bytes], None]) -> Iterator[int]:
    """Its port on loopback. `answer` is called with the connection and the request, in a thread for each connection."""
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while request := connection.recv(65536):
                    answer(connection, request)
            except OSError:  # the client is gone
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # the end
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in threads:
        thread.join()
