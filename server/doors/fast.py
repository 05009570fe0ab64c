"""The fast door: answers what is in memory at once, without a task, and leaves everything else to its base.

1. a head whose lines are those of the last one: two look-ups, one write       (`data_received`)
2. a head that has to be taken apart first, or whose lines are another's       (`_answer`)
3. any other whole message that memory can answer                              (`_serve`)
4. the same where the body is a span of an open file                           (`_send_span`)
5. what memory cannot answer: uvicorn, the ASGI door, a task                   (`EdgeProtocol`)

What it writes is what uvicorn would write for the ASGI door, byte for byte.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from server.doors.answers import MAX_SENDER_BYTES, NOBODY, Answers, cut_conditions, is_text
from server.doors.head import Head
from server.doors.http1 import EdgeProtocol, Successor, render_head
from server.doors.journal import Asked, Journal
from server.doors.phases import DEADLINES, Phase
from server.doors.sendfile import Transfer
from server.doors.tables import SMALL_BODY_BYTES, Answer
from server.edge.edge import Edge
from server.edge.request import Refusal, Request, read_request, split_target
from server.edge.response import Parts, Response, Span
from storage.blobs import FileReader
from storage.models import HostedSite

MAX_WHOLE_BYTES = 8 * 1024  # of a head that is looked up
UNKNOWN = 1 << 62  # bytes: more than are ever unsent, so that at its deadline a connection is looked at, not ended

logger = logging.getLogger("spacelane.edge")


class _Sending:
    """A response under way, all but its head by a `Transfer`."""

    def __init__(self, asked: Asked, response: Response, transfer: Transfer, last: bool) -> None:
        self.asked = asked
        self.response = response
        self.transfer = transfer
        self.last = last  # the connection ends behind it
        self.at_once = True  # as long as it has not had to wait


class FastProtocol(EdgeProtocol):
    """One connection. What it answers from is set by `fast_protocol_for`."""

    __slots__ = ("_lines", "_ready", "_rest_seconds", "_sender", "_sender_log", "_sending", "_visited")

    answers: Answers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._ready = False  # for a request that is answered at once
        # Of the last request, likely to be those of the next: what the lines mean, the lines without conditions, and
        # what the log says of them.
        self._sender, self._lines, self._sender_log = NOBODY, b"", b""
        self._rest_seconds = self.deadlines[Phase.FLUSHING]
        self._sending: _Sending | None = None
        self._visited: tuple[str | None, int] = (None, -1)  # authority and revision that `_site` was found by
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._ready:
            sender = self._sender
            lines = self._lines
            if sender.revision == self.edge.revision and data.endswith(lines):
                line = data[: -len(lines)]
                answer = sender.answers.get(line)
                if answer is not None:
                    self._reply(answer, answer.log)
                    return
                if self._answer_line(line, None):
                    return
            elif self._answer(data):
                return
        super().data_received(data)

    def _answer(self, data: bytes) -> bool:
        """Answer the one head that `data` is, if there is an answer in the tables."""
        if len(data) > MAX_WHOLE_BYTES or not data.endswith(b"\r\n\r\n"):
            return False
        end = data.find(b"\r\n")
        cut = cut_conditions(data[end:])
        if cut is None:
            return False
        lines, etag = cut
        sender = self._sender
        if lines != self._lines or sender.revision != self.edge.revision:
            met = self.answers.meet(lines, sender)
            if met is None:
                return False
            sender, log = met
            if self._server_name is not None and self._server_name != sender.host:
                return False
            assert sender.table is not None, "a settled sender has one"
            if sender.table.site is not self._site:
                self.visit(sender.table.site)
            self._sender, self._lines, self._sender_log = sender, lines, log
        answered = self._answer_line(data[:end], etag)
        if len(lines) > MAX_SENDER_BYTES:  # too much to keep for each connection
            self._sender, self._lines = NOBODY, b""
        return answered

    def _answer_line(self, line: bytes, etag: bytes | None) -> bool:
        """Answer a request line, and the validator behind it, from the sender's table, which is up to date, if there is
        an answer in it."""
        table = self._sender.table
        if table is None or table.retired:
            self._sender = NOBODY  # who is met again gets another
            return False
        answer = table.answers.get(line)
        own = answer is not None
        if answer is None:
            answer = self.answers.find_unlisted(table, line)
            if answer is None:
                return False
        if etag is not None:
            if answer.etag == etag:
                answer = answer.unchanged
                assert answer is not None
            elif answer.etag is not None or not is_text(etag):
                return False
        self._reply(answer, answer.log if own else self.answers.log_for(answer, line))
        return True

    def _reply(self, answer: Answer, log: bytes) -> None:
        now = self.loop.time()
        journal = self.journal
        moment = journal.moment
        if now >= moment.until:
            moment = journal.tick(self.loop, now)
        if answer.moment is not moment:
            answer.renew(moment)
        self.transport.write(answer.whole)
        if answer.tally.size > SMALL_BODY_BYTES:
            self.transport.write(answer.body)
        answer.entry.used = True
        journal.note(now, answer.tally, self._peer, log, self._sender_log)
        self._rest(now)

    def _rest(self, now: float) -> None:
        """Wait for the next request, as behind any answer."""
        self._phase = Phase.FLUSHING
        self._unsent = UNKNOWN
        self._deadline = deadline = now + self._rest_seconds
        if self._due > deadline:
            self._set_deadline(deadline)

    # Messages that have been read in full.

    def _serve(self, head: Head, *, keep_alive: bool) -> bool:
        found = self._find(head)
        if found is None:
            return super()._serve(head, keep_alive=keep_alive)
        asked, response, reader = found
        try:
            transfer = None if reader is None else Transfer(self.transport, reader, _span(response), self._end_span)
        except OSError:  # the process has no descriptor left
            return super()._serve(head, keep_alive=keep_alive)
        self._head = None
        last = not keep_alive or not head.keep_alive or self._last or (self._half_closed and not self._buffer)
        start = b"%b%b\r\n" % (render_head(response), b"connection: close\r\n" if last else b"")
        if transfer is None:
            assert isinstance(response.body, bytes)
            self.transport.write(start + response.body)
            size = len(response.body)
            self.journal.note_answer(self.loop, self._peer, asked, response.status, size, response.site_id)
        else:
            self.transport.write(start)
            if not self._send_span(_Sending(asked, response, transfer, last)):
                return False
        if last:
            self.finish_connection()
        else:
            self._rest(self.loop.time())
        return True

    def _find(self, head: Head) -> tuple[Asked, Response, FileReader | None] | None:
        """What memory has for it, if now is the time; with the open file where its body is a span of that."""
        if self.flow.write_paused:  # the base waits until the client has taken what there is
            return None
        try:
            request = read_request(
                head.method.decode("ascii"), head.target, head.version, head.headers, self._server_name
            )
        except Refusal as refusal:
            split_target(head.target)  # raises where there is no telling what is asked for: that ends the connection
            response = self.edge.refuse(refusal)
            asked = Asked.read(head.method, head.target, head.version, head.headers)
            return asked, (replace(response, body=b"") if head.method == b"HEAD" else response), None
        found = self.edge.open_nowait(request, self._can_send)
        if found is None:
            return None
        response, reader = found
        if response.status < 400 and reader is None and head.version == "1.1":
            self.answers.remember(request)
        self._note_visit(request)
        return Asked.read(head.method, head.target, head.version, head.headers, request.authority), response, reader

    def _note_visit(self, request: Request) -> None:
        """Note whose site `request`, just answered, is for."""
        visited = request.authority, self.edge.revision
        if visited != self._visited and (site := self.edge.site_of(request)) is not None:
            self.visit(site)
            self._visited = visited

    def visit(self, site: HostedSite) -> None:
        super().visit(site)
        self._visited = (None, -1)
        self._sender = NOBODY  # the next request, if it is one of its, is to say so

    # Spans of files.

    def _can_send(self, body: Parts) -> bool:
        """Whether the kernel can: one span, to a socket that is not encrypted."""
        return len(body.parts) == 1 and self.transport.get_extra_info("ssl_object") is None

    def _send_span(self, sending: _Sending) -> bool:
        """Send the body behind the head that has been written; whether that could be done at once."""
        self._sending = sending
        sending.transfer.push()
        sending.at_once = False
        if self._sending is None:
            return not self.transport.is_closing()
        self._unsent = self._count_unsent()
        self._enter(Phase.WRITING)
        return False

    def _end_span(self, error: Exception | None) -> None:
        """The transfer has ended; with an error the connection does too, so that nobody takes a part for all."""
        sending = self._sending
        assert sending is not None
        self._note_span(sending)
        if isinstance(error, ConnectionError):
            self.transport.abort()
        elif error is not None:
            logger.error("a response was cut short: %s", error)
            self._drop()
        elif sending.at_once:
            pass  # `_serve` goes on
        elif sending.last:
            self.finish_connection()
        else:
            self.on_response_complete()

    def _note_span(self, sending: _Sending) -> None:
        self._sending = None
        status, sent, site_id = sending.response.status, sending.transfer.sent, sending.response.site_id
        self.journal.note_answer(self.loop, self._peer, sending.asked, status, sent, site_id)

    def _make_last(self) -> None:
        if self._sending is None:
            super()._make_last()
        else:
            self._sending.last = True

    def _count_unsent(self) -> int:
        unsent = super()._count_unsent()
        return unsent if self._sending is None else unsent + self._sending.transfer.unsent

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sending is not None:
            self._sending.transfer.stop()
            self._note_span(self._sending)
        super().connection_lost(exc)

    # When there is room for a request.

    def _enter(self, phase: Phase) -> None:
        super()._enter(phase)
        self._settle()

    def _advance(self) -> None:
        super()._advance()
        self._settle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._settle()

    def resume_writing(self) -> None:
        if self._sending is None:
            super().resume_writing()
        else:
            self.flow.resume_writing()  # and still the client has to take the rest
        self._settle()

    def shutdown(self) -> None:
        super().shutdown()
        self._settle()

    def _settle(self) -> None:
        at_rest = self._phase is Phase.IDLE or self._phase is Phase.FLUSHING
        self._ready = at_rest and not (
            self._buffer or self._had_empty_line or self._half_closed or self._last or self.flow.write_paused
        )


def _span(response: Response) -> Span:
    """Where the body is, that is one span."""
    assert isinstance(response.body, Parts)
    [span] = response.body.parts
    assert isinstance(span, Span)
    return span


def fast_protocol_for(
    edge: Edge, journal: Journal, http2: type[Successor], deadlines: Mapping[Phase, float] = DEADLINES
) -> type[FastProtocol]:
    """The protocol class that answers from `edge`: uvicorn makes one for each connection."""
    attributes = {"edge": edge, "deadlines": deadlines, "journal": journal, "http2": http2}
    return type("BoundFastProtocol", (FastProtocol,), {**attributes, "answers": Answers(edge, journal)})
