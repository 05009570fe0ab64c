"""The fast door: answers what is in memory at once, without a task, and leaves everything else to its base.

1. a head whose lines are those of the last one: two look-ups, one write       (`data_received`)
2. a head whose lines have to be looked up or read first                       (`_answer`)
3. any other whole message that memory can answer                              (`_serve`)
4. what memory cannot answer: uvicorn, the ASGI door, a task                   (`EdgeProtocol`)

What it writes is what uvicorn would write for the ASGI door, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from server.doors.answers import SMALL_BODY_BYTES, Answer, Answers, Sender
from server.doors.head import Head
from server.doors.http1 import DEADLINES, EdgeProtocol, Phase, render_head
from server.doors.journal import Journal
from server.edge.edge import Edge
from server.edge.request import Refusal, read_request
from server.edge.response import Response

MAX_WHOLE_BYTES = 8 * 1024  # of a head that is looked up
UNKNOWN = 1 << 62  # bytes: more than are ever unsent, so that at its deadline a connection is looked at, not ended
_NOBODY = Sender(b"", "", None, None, b"")


class FastProtocol(EdgeProtocol):
    """One connection. What it answers from is set by `fast_protocol_for`."""

    answers: Answers
    journal: Journal

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._ready = False  # for a request that is answered at once
        self._sender = _NOBODY  # of the last request: likely to be that of the next
        self._rest_seconds = self.deadlines[Phase.FLUSHING]
        super().connection_made(transport)
        self._peer = self.journal.format.peer(self.client[0] if self.client else "")

    def data_received(self, data: bytes) -> None:
        if self._ready:
            sender = self._sender
            raw = sender.raw
            if data.endswith(raw) and sender.revision == self.edge.revision:
                line = data[: -len(raw)]
                answer = sender.answers.get(line)
                if answer is not None:
                    self._reply(answer, answer.log, sender)
                    return
                if self._answer_line(sender, line):
                    return
            elif self._answer(data):
                return
        super().data_received(data)

    def _answer(self, data: bytes) -> bool:
        """Answer the one head that `data` is, if there is an answer in the tables."""
        if len(data) > MAX_WHOLE_BYTES:
            return False
        end = data.find(b"\r\n") + 2
        sender = self.answers.find_sender(data[end:])
        if sender is None or not self.answers.settle(sender):
            return False
        if self._server_name is not None and self._server_name != sender.host:
            return False
        self._sender = sender
        return self._answer_line(sender, data[:end])

    def _answer_line(self, sender: Sender, line: bytes) -> bool:
        """Answer a request line of a sender whose table is up to date, if there is an answer in it."""
        table = sender.table
        if table is None:
            return False
        answer = table.answers.get(line)
        own = answer is not None
        if answer is None:
            answer = self.answers.find_unlisted(table, line)
            if answer is None:
                return False
        if sender.etag is not None and answer.etag is not None:
            if sender.etag != answer.etag:
                return False
            answer = answer.unchanged
            assert answer is not None
        self._reply(answer, answer.log if own else self.answers.log_for(answer, line), sender)
        return True

    def _reply(self, answer: Answer, log: bytes, sender: Sender) -> None:
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
        journal.note(now, answer.tally, self._peer, log, sender.log)
        self._rest(now)

    def _rest(self, now: float) -> None:
        """Wait for the next request, as behind any answer."""
        self._phase = Phase.FLUSHING
        self._served = True
        self._unsent = UNKNOWN
        self._deadline = deadline = now + self._rest_seconds
        if self._due > deadline:
            self._set_deadline(deadline)

    # Messages that have been read in full.

    def _serve(self, head: Head, *, keep_alive: bool) -> bool:
        response = self._find(head)
        if response is None:
            return super()._serve(head, keep_alive=keep_alive)
        self._head = None
        last = not keep_alive or not head.keep_alive or self._last or (self._half_closed and not self._buffer)
        close = b"connection: close\r\n" if last else b""
        assert isinstance(response.body, bytes)
        self.transport.write(b"%b%b\r\n%b" % (render_head(response), close, response.body))
        now = self.loop.time()
        self.journal.tick(self.loop, now)
        if last:
            self._served = True
            self.finish_connection()
        else:
            self._rest(now)
        return True

    def _find(self, head: Head) -> Response | None:
        """What memory has for it, if now is the time."""
        if self.flow.write_paused:  # the base waits until the client has taken what there is
            return None
        try:
            request = read_request(
                head.method.decode("ascii"), head.target, head.version, head.headers, self._server_name
            )
        except Refusal:
            return None  # the ASGI door says it in words
        response = self.edge.respond_nowait(request)
        if response is not None and response.status < 400 and head.version == "1.1":
            self.answers.remember(request)
        return response

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
        super().resume_writing()
        self._settle()

    def shutdown(self) -> None:
        super().shutdown()
        self._settle()

    def _settle(self) -> None:
        at_rest = self._phase is Phase.IDLE or self._phase is Phase.FLUSHING
        self._ready = at_rest and not (
            self._buffer or self._had_empty_line or self._half_closed or self._last or self.flow.write_paused
        )


def fast_protocol_for(edge: Edge, journal: Journal, deadlines: Mapping[Phase, float] = DEADLINES) -> type[FastProtocol]:
    """The protocol class that answers from `edge`: uvicorn makes one for each connection."""
    attributes = {"edge": edge, "deadlines": deadlines, "journal": journal, "answers": Answers(edge, journal)}
    return type("BoundFastProtocol", (FastProtocol,), attributes)
