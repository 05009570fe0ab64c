"""The fast door: answers what is in memory at once, without a task, and leaves everything else to its base.

1. a head whose lines are those of the last one: two look-ups, one write       (`data_received`)
   (and if conditions that are known stand before those lines)
2. a head whose lines differ from those in what often does                     (`_answer_shaped`)
   or that has to be taken apart first, or whose lines are another's           (`_answer`)
3. the same where a part is asked for, or the body is sent from its file       (`_give`)
4. any other whole message that memory can answer                              (`MemoryProtocol`)
5. what memory cannot answer: uvicorn, the ASGI door, a task                   (`EdgeProtocol`)

What it writes is what uvicorn would write for the ASGI door, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum

from server.doors.answers import MAX_LINES_BYTES, Answers, cut_conditions
from server.doors.http1 import render_head
from server.doors.journal import Journal
from server.doors.memory import NOT_VISITED, MemoryProtocol
from server.doors.open_files import OpenFiles
from server.doors.outbox import MOST, Outbox
from server.doors.phases import DEADLINES, Phase
from server.doors.seam import Successor
from server.doors.senders import NO_MANNER, NOBODY, Met
from server.doors.sending import Sending
from server.doors.shapes import Shape, shape_of_conditions, shape_of_senders
from server.doors.tables import Answer
from server.edge.conditions import finish
from server.edge.edge import Edge
from server.edge.request import Request
from server.edge.response import Body, Parts
from storage.models import HostedSite

MAX_WHOLE_BYTES = 8 * 1024  # of a head that is looked up


class Written(Enum):
    """How much of an answer has been given."""

    NOTHING = 0
    SOME = 1  # the rest follows, unless the connection has ended
    ALL = 2


_ALL = Written.ALL  # at hand, for each request


class FastProtocol(MemoryProtocol):
    """One connection. What it answers from is set by `fast_protocol_for`."""

    __slots__ = (
        "_answers", "_files", "_heads", "_journal", "_lines", "_manner", "_ready", "_revision_cell", "_sender",
        "_sender_log", "_shape", "_visits",
    )  # fmt: skip

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # What each request needs is at hand: an attribute of the class takes 40 ns to find, one of its own 5.
        answers = self._answers = self.answers
        self._files = self.files
        self._heads, self._visits = answers.heads, answers.edge.visits
        self._journal, self._revision_cell = answers.journal, answers.edge.revision_cell
        self._ready = False  # for a request that is answered at once
        # Of the last request, likely to be those of the next: what the lines mean, who sends them, the lines without
        # conditions, and what the log says of them.
        self._manner, self._sender, self._lines, self._sender_log = NO_MANNER, NOBODY, b"", b""
        self._shape: Shape | None = None  # where they are of one
        super().connection_made(transport)
        self._settle()

    def data_received(self, data: bytes) -> None:
        if self._ready:
            sender = self._sender
            if sender.revision == self._revision_cell[0] or self._answers.confirm(sender):
                line = data.removesuffix(self._lines)
                if line is not data:
                    answer = sender.answers.get(line)
                    if answer is not None:
                        if self._reply(answer, line, answer.log):
                            return
                    elif self._answer_line(line, None, None):
                        return
                else:
                    shape = self._shape
                    answered = None if shape is None else self._answer_shaped(shape, data)
                    if answered or (answered is None and self._answer(data, is_current=True)):
                        return
            elif self._answer(data, is_current=False):
                return
            self._outbox.flush()
        super().data_received(data)

    def _answer(self, data: bytes, *, is_current: bool) -> bool:
        """Answer the one head that `data` is, if there is an answer in the tables. `is_current`: what is known of the
        last sender still holds, and these are not just his lines."""
        if len(data) > MAX_WHOLE_BYTES:  # much that would be copied and hashed in vain
            return False
        end = data.find(b"\r\n")
        line, whole = data[:end], data[end:]
        met = self._heads.get(whole)
        if met is not None:
            sender = met[1]
            # A table that is given up is cleared, and nothing fills it again: one with answers is in use.
            if (sender.answers and sender.revision == self._revision_cell[0]) or self._answers.confirm(sender):
                return self._answer_again(line, whole, met)
        if not whole.endswith(b"\r\n\r\n"):
            return False
        cut = cut_conditions(whole)
        if cut is None:
            return False
        lines, etag, span = cut
        if lines == self._lines and is_current:
            self._shape = shape_of_conditions(whole)
        elif not self._meet(lines, has_conditions=lines != whole):
            return False
        manner = self._manner
        answered = self._answer_line(line, etag, span)
        if manner.closes or len(whole) > MAX_LINES_BYTES:  # who goes, or too much to keep for each connection
            self._forget()
        return answered

    def _answer_again(self, line: bytes, whole: bytes, met: Met) -> bool:
        """Answer a request line and lines that are known, also from another connection."""
        if not self._serve_from_now_on(whole, met):
            return False
        self._shape = None
        manner, sender, _ = met
        answer = sender.answers.get(line)
        if answer is not None and not manner.closes:
            return self._reply(answer, line, answer.log)
        answered = self._answer_line(line, None, None)
        if manner.closes:
            self._forget()
        return answered

    def _forget(self) -> None:
        """Know nothing of the last request."""
        self._manner, self._sender, self._lines, self._shape = NO_MANNER, NOBODY, b"", None

    def _answer_shaped(self, shape: Shape, data: bytes) -> bool | None:
        """Answer a head that differs from the last in nothing but gaps of `shape`; None if that is not so."""
        if len(data) > MAX_WHOLE_BYTES:  # no matter what stands in a gap
            return None
        end = data.find(b"\r\n")
        rest = shape.cut(data, end)
        if not rest:
            return None
        line = data[:end]
        if shape.adjoins and shape.names is None:
            answer = self._sender.answers.get(line + rest)
            if answer is not None:
                return self._reply(answer, line, answer.log)
        values = shape.fit(rest)
        if values is None:
            return None
        etag = span = None
        if shape.names is None:
            etag, span = shape.conditions(values)
            if etag is not None and span is None and self._sender.table is not None:
                self._answers.remember_conditions(self._sender.table, line, rest, etag)
        else:
            lines = data[end:]
            if len(lines) > MAX_LINES_BYTES:
                return None
            self._lines = lines
            self._sender_log = shape.say(values)
            answer = self._sender.answers.get(line)
            if answer is not None:
                return self._reply(answer, line, answer.log)
        return self._answer_line(line, etag, span)

    def _meet(self, lines: bytes, *, has_conditions: bool) -> bool:
        """Find out whose lines these are, from `cut_conditions`; whether the door is for him."""
        met = self._answers.meet(lines, self._manner)
        if met is None:
            return False
        manner, sender, names = met
        shape = None
        if not has_conditions and manner is self._manner and sender is self._sender:
            shape = shape_of_senders(self._lines, lines, names, self._journal.format)
        log = self._journal.format.sender(*names)
        if not self._serve_from_now_on(lines, (manner, sender, log)):
            return False
        self._shape = shape
        if shape is None and not has_conditions:
            self._answers.keep_met(lines, (manner, sender, log))
        return True

    def _serve_from_now_on(self, lines: bytes, met: Met) -> bool:
        """Serve whoever was met by `lines`, unless the handshake was for another host."""
        manner, sender, log = met
        if self._server_name is not None and self._server_name != sender.host:
            return False
        assert sender.table is not None, "whoever was met has one"
        site = sender.table.site
        if site is not self._site and not manner.closes:
            # As `visit` does, in fewer steps: here nobody can have left, and who sends is set below.
            self._site, self._visited = site, NOT_VISITED
            self._visits.add(site, self)
        self._manner, self._sender, self._lines, self._sender_log = manner, sender, lines, log
        return True

    def _answer_line(self, line: bytes, etag: bytes | None, span: bytes | None) -> bool:
        """Answer a request line, and the validator and the range behind it, from the sender's table, which is up to
        date, if there is an answer in it."""
        table = self._sender.table
        if table is None or table.retired:
            self._sender = NOBODY  # who is met again gets another
            return False
        found = self._answers.look_up(table, line, etag)
        if found is None:
            return False
        answer, log = found
        # For a part there has to be something to take it of (RFC 9110 §14.2).
        if span is not None and answer.etag is not None and line.startswith(b"GET "):
            return self._answer_range(answer, line, span, log)
        if self._manner.closes:
            return self._reply_last(answer, line, log)
        return self._reply(answer, line, log)

    def _reply(self, answer: Answer, line: bytes, log: bytes) -> bool:
        now = self.loop.time()
        journal = self._journal
        if now != journal.now:
            journal.tick(self.loop, now)
            self._outbox.consider(now, journal.count_noted())
        if answer.moment is not journal.moment:
            answer.renew(journal.moment)
        if answer.is_small:
            outbox = self._outbox
            if outbox.is_open:
                held = outbox.held
                held.append((self.transport, answer.whole))
                count = len(held)
                if count == 1 or count >= MOST:  # a call for each would take a third of what holding saves
                    outbox.schedule(self.loop)
            else:
                self.transport.write(answer.whole)
        else:
            self._outbox.flush()
            written = self._write_large(answer, line, now)
            if written is not _ALL:
                return written is Written.SOME
        answer.entry.used = True
        journal.note(answer.tally, self._peer, log, self._sender_log)
        self._rest(now)
        return True

    def _write_large(self, answer: Answer, line: bytes, now: float) -> Written:
        """Write an answer whose body is no part of the prepared bytes."""
        body, span = answer.body, answer.span
        if isinstance(body, bytes):
            self.transport.write(answer.whole)
            self.transport.write(body)
            return _ALL
        assert span is not None, "a file has one"
        file = self._files.find(body.blob.digest)
        if file is None:
            return Written.NOTHING
        sent = self._send_at_once(answer.whole, file, span, now)
        if sent == body.size:
            return _ALL
        sending = self._remembered(answer, line, answer.tally.status)
        if self._send_rest(sending, file, span, sent):
            self._rest(self.loop.time())
        return Written.SOME

    def _reply_last(self, answer: Answer, line: bytes, log: bytes) -> bool:
        """Reply to who has asked for the connection's end, and so has nothing more to say (RFC 9112 §9.6)."""
        if not answer.is_small:
            return self._give(answer, line, answer.tally.status, answer.head, answer.body)
        assert isinstance(answer.body, bytes), "a small one is at hand"
        now = self.loop.time()
        moment = self._journal.tick(self.loop, now)
        self._outbox.flush()
        self.transport.write(b"%b%bconnection: close\r\n\r\n%b" % (answer.head, moment.date, answer.body))
        answer.entry.used = True
        self._journal.note(answer.tally, self._peer, log, self._sender_log)
        # What is written leaves before the end does. The timer stays, and may find a client that does not take it later
        # than one set anew: most are never needed, and setting one costs a fourth of all this.
        self._deadline = now + self._rest_seconds
        self._phase = Phase.CLOSING
        self._ready = False
        self.transport.close()
        return True

    def _answer_range(self, answer: Answer, line: bytes, field: bytes, log: bytes) -> bool:
        """Answer with a part of what `answer` shows."""
        if field == answer.kept_field and log is answer.log and not self._manner.closes:
            table = self._sender.table
            assert table is not None, "it has the answer"
            kept = answer.kept_part or self._answers.keep_part(table, answer, line, field)
            return self._reply(kept, line, kept.log)
        part = answer.part(field)
        if part is not None:
            if answer.span is not None:
                answer.kept_field, answer.kept_part = field, None
            return self._give(answer, line, 206, *part)
        asked = Request(method="GET", authority=None, path="/", range=field.decode("ascii").strip(" \t"))
        response = finish(answer.stored, asked)
        if isinstance(response.body, Parts) and len(response.body.parts) > 1:
            return False
        return self._give(answer, line, response.status, render_head(response), response.body)

    def _give(self, answer: Answer, line: bytes, status: int, head: bytes, body: Body) -> bool:
        """Send what shows all or a part of an answer, unless its file cannot be had."""
        file = None
        if isinstance(body, Parts):
            file = self.files.find(body.blob.digest)
            if file is None:
                return False
        answer.entry.used = True
        sending = self._remembered(answer, line, status)
        head += self._journal.tick(self.loop, self.loop.time()).date
        self._send(sending, head, body, file)
        return True

    def _remembered(self, answer: Answer, line: bytes, status: int) -> Sending:
        """What is noted of an answer that the sender's table had."""
        method, target, protocol = line.split(b" ")
        sender = self._sender
        assert sender.table is not None, "it has the answer"
        site = sender.table.site
        if site is not self._site:
            self.visit(site)
        return Sending(
            (method, target, protocol), self._sender_log, status, site.id, self._manner.closes, remembered=True
        )

    def visit(self, site: HostedSite) -> None:
        super().visit(site)
        self._sender = NOBODY  # the next request, if it is one of its, is to say so

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
            self._buffer or self._had_empty_line or self._half_closed or self._last or self._writing_paused
        )


def fast_protocol_for(
    edge: Edge,
    journal: Journal,
    files: OpenFiles,
    http2: type[Successor],
    deadlines: Mapping[Phase, float] = DEADLINES,
    *,
    encrypted: bool = False,
) -> type[FastProtocol]:
    """The protocol class that answers from `edge`: uvicorn makes one for each connection."""
    answers = Answers(edge, journal, sends_files=not encrypted)
    attributes = {"edge": edge, "deadlines": deadlines, "journal": journal, "http2": http2}
    return type(
        "BoundFastProtocol", (FastProtocol,), {**attributes, "answers": answers, "files": files, "outbox": Outbox()}
    )
