"""A connection whose answers' bodies may be sent from files by the kernel, while nothing waits for them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass

from server.doors.http1 import EdgeProtocol
from server.doors.journal import Tally
from server.doors.open_files import OpenFile
from server.doors.outbox import Outbox
from server.doors.phases import Phase
from server.doors.sendfile import Transfer, send_now
from server.doors.tables import SMALL_BODY_BYTES, span_of
from server.edge.response import Body, Parts, Span

_FLUSHING = Phase.FLUSHING  # which takes 50 ns to find, once a request
UNKNOWN = 1 << 62  # bytes: more than are ever untaken, so that at its deadline a connection is looked at, not ended

logger = logging.getLogger("spacelane.edge")


@dataclass(slots=True)
class Sending:
    """A response that is given otherwise than by its prepared bytes."""

    line: tuple[bytes, bytes, bytes]  # method, target, protocol
    sender: bytes  # in the log's words
    status: int
    site_id: str
    last: bool  # the connection ends behind it
    remembered: bool = False  # the edge was not asked
    sent: int = 0  # bytes of the body, without those by `transfer`
    transfer: Transfer | None = None
    at_once: bool = True  # as long as it has not had to wait

    def tally(self, size: int) -> Tally:
        """What is counted if `size` bytes of the body were sent."""
        return Tally(self.site_id, self.status, size, remembered=self.remembered)


class SendingProtocol(EdgeProtocol):
    """One connection."""

    __slots__ = ("_outbox", "_rest_seconds", "_sending", "_socket")

    outbox: Outbox

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._outbox = self.outbox
        self._rest_seconds = self.deadlines[Phase.FLUSHING]
        self._sending: Sending | None = None
        self._socket: socket.socket | None = None
        super().connection_made(transport)

    def _rest(self, now: float) -> None:
        """Wait for the next request, as behind any answer."""
        self._phase = _FLUSHING
        self._untaken = UNKNOWN
        self._deadline = deadline = now + self._rest_seconds
        if self._due > deadline:
            self._set_deadline(deadline)

    def _send(self, sending: Sending, head: bytes, body: Body, file: OpenFile | None) -> bool:
        """Send `head`, to which the empty line is missing, and `body`, a span where there is a `file`. Whether the next
        request's turn has come."""
        head = b"%b%b\r\n" % (head, b"connection: close\r\n" if sending.last else b"")
        self._outbox.flush()
        if file is not None:
            span = span_of(body)
            sent = self._send_at_once(head, file, span, self.loop.time())
            if sent < span.stop - span.start:
                if not self._send_rest(sending, file, span, sent):
                    return False
            else:
                self._note(sending, sent)
        else:
            assert isinstance(body, bytes)
            if len(body) <= SMALL_BODY_BYTES:
                self.transport.write(head + body)
            else:
                self.transport.write(head)
                self.transport.write(body)
            self._note(sending, len(body))
        if sending.last:
            self.finish_connection()
        else:
            self._rest(self.loop.time())
        return True

    def _can_send(self, body: Parts) -> bool:
        """Whether the kernel can: one span, to a socket that is not encrypted."""
        return len(body.parts) == 1 and self.transport.get_extra_info("ssl_object") is None

    def _send_at_once(self, head: bytes, file: OpenFile, span: Span, now: float) -> int:
        """Send head and body as far as there is room; how many bytes of the body. The transport has the whole head.
        `now` is the loop's time."""
        transport, taken, sent = self.transport, 0, 0
        if not transport.get_write_buffer_size() and file.is_at_hand(span.start, span.stop, now):
            taken, sent = send_now(self._socket or self._own_socket(), head, file, span)
        if taken < len(head):
            transport.write(head[taken:])
        return sent

    def _send_rest(self, sending: Sending, file: OpenFile, span: Span, sent: int) -> bool:
        """Send what there had been no room for; whether that could be done by now, and the connection stays."""
        self._sending = sending
        sending.sent = sent
        sending.transfer = Transfer(self.transport, file, Span(span.start + sent, span.stop), self._end_span)
        sending.transfer.push()
        sending.at_once = False
        if self._sending is None:
            return not self.transport.is_closing()
        self._untaken = self._count_untaken()
        self._enter(Phase.WRITING)
        return False

    def _own_socket(self) -> socket.socket:
        """The transport's socket, to use while that is open."""
        its = self.transport.get_extra_info("socket")
        self._socket = socket.socket(its.family, its.type, its.proto, fileno=its.fileno())
        return self._socket

    def _end_span(self, error: Exception | None) -> None:
        """The transfer has ended; with an error the connection does too, so that nobody takes a part for all."""
        sending = self._sending
        assert sending is not None
        self._note_span(sending)
        if error is not None:
            self._enter(Phase.CLOSING)  # nothing is answered any more, whoever calls before the end is told
        if isinstance(error, ConnectionError):
            self.transport.abort()
        elif error is not None:
            logger.error("a response was cut short: %s", error)
            self._drop()
        elif sending.at_once:
            pass  # `_send` goes on
        elif sending.last:
            self.finish_connection()
        else:
            self.on_response_complete()

    def _note_span(self, sending: Sending) -> None:
        self._sending = None
        assert sending.transfer is not None
        self._note(sending, sending.sent + sending.transfer.sent)

    def _note(self, sending: Sending, size: int) -> None:
        self.journal.note_size(self.loop, self._peer, sending.line, sending.sender, sending.tally(size))

    # An answer that is held is to be on its way before anything else comes over the connection.

    def eof_received(self) -> bool:  # type: ignore[override]
        self._outbox.flush()
        return super().eof_received()

    def site_gone(self, domains: Collection[str]) -> None:
        self._outbox.flush()
        super().site_gone(domains)

    def _on_timer(self) -> None:
        self._outbox.flush()
        super()._on_timer()

    def _close_unless_busy(self) -> None:
        self._outbox.flush()
        super()._close_unless_busy()

    def _drop(self) -> None:
        self._outbox.flush()
        super()._drop()

    def _make_last(self) -> None:
        if self._sending is None:
            super()._make_last()
        else:
            self._sending.last = True

    def _count_unsent(self) -> int:
        unsent = super()._count_unsent()
        transfer = None if self._sending is None else self._sending.transfer
        return unsent if transfer is None else unsent + transfer.unsent

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sending is not None and self._sending.transfer is not None:
            self._sending.transfer.stop()
            self._note_span(self._sending)
        if self._socket is not None:
            self._socket.detach()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sending is not None and self._phase is Phase.SERVING:
            self._enter(Phase.WRITING)  # still the client has to take the rest
