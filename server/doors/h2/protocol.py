"""The HTTP/2 door: answers what is in memory at once, and calls the ASGI door for everything else.

1. a header block that has come before on the connection: two look-ups      (`answer_again`)
2. any other block: read, held to the rules, looked up by what it asks for  (`on_block`)
3. what memory has otherwise                                                (`_answer_from_memory`)
4. what it has not: a task, the ASGI door                                   (`server.doors.h2.calls`)

What it says is what the other doors would say, in frames. All requests of one read are answered with one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from server.doors.asgi import TARGET
from server.doors.h2 import frames
from server.doors.h2.answers import Asking, FramedAnswer, FramedAnswers, render_block
from server.doors.h2.calls import Call, make_scope
from server.doors.h2.connection import MAX_STREAMS
from server.doors.h2.fields import RequestHead, check_size, check_trailers, read_request_head
from server.doors.h2.frames import MAX_FRAME_BYTES, Code, StreamFault
from server.doors.h2.hpack import NO_TABLE, BlockReader, Fields
from server.doors.h2.receiver import Http2Receiver
from server.doors.h2.streams import Stream
from server.doors.head import MAX_DRAIN_BYTES
from server.doors.http1 import EdgeProtocol
from server.doors.journal import Asked, Journal
from server.doors.phases import DEADLINES, Phase
from server.doors.senders import NOBODY, Sender
from server.doors.tls import EXTENSION
from server.edge.edge import Edge
from server.edge.request import Refusal, read_request
from server.edge.response import Response
from server.edge.visits import VISIT
from storage.models import HostedSite

MAX_CALLS = 16  # at a time, of a connection's streams
MAX_KNOWN = 32  # header blocks of a connection
MAX_KNOWN_BYTES = 2048  # of each, with what it says
TABLE_BYTES = 4096  # that a peer has for our dynamic table unless it says otherwise
ROOM_BYTES = 256 * 1024  # of answers that are put together before they are written
HEAD_ALLOWANCE = 256  # bytes that an answer counts for besides its body


class Http2Protocol(Http2Receiver):
    """One connection. What it answers from is set by `http2_protocol_for`."""

    edge: Edge
    journal: Journal
    answers: FramedAnswers
    fast: bool  # whether it answers anything by itself

    def __init__(self, predecessor: EdgeProtocol) -> None:
        super().__init__(predecessor)
        self._app = predecessor.config.loaded_app
        self._tasks = predecessor.tasks
        client = predecessor.client
        self._place = {"scheme": predecessor.scheme, "client": client, "server": predecessor.server}
        self._peer = self.journal.format.peer(client[0] if client else "")
        self._server_name: str | None = getattr(self.transport.get_extra_info("ssl_object"), "server_name", None)
        self._blocks = BlockReader()
        self._known: dict[bytes, Asking] = {}  # blocks that have come since the dynamic table is as it is
        self._sender: Sender = NOBODY  # of the last request
        self._turns: asyncio.Semaphore | None = None  # of answers that take a task
        self._room = ROOM_BYTES
        self._now, self._revision = self.idle_since, -1  # as of the last read
        self._gives_up_table = False  # the next block begins by saying that there is no dynamic table
        self._table_bytes = TABLE_BYTES  # that ours may have, as far as the peer has been told

    def connection_lost(self, exc: Exception | None) -> None:
        self.edge.visits.remove(self)
        super().connection_lost(exc)

    def limit_table(self, size: int) -> None:
        if size < self._table_bytes:  # RFC 7541 §4.2: then it has to be told
            self._table_bytes = 0
            self._gives_up_table = True
            self._known.clear()

    def read(self, data: bytes) -> None:
        self._now = self.loop.time()
        self._revision = self.edge.catch_up_nowait()
        super().read(data)

    # Header blocks.

    def answer_again(self, number: int, block: bytes, place: bytes) -> bool:
        asking = self._known.get(block)
        if asking is None:
            return False
        sender = asking.sender
        answer = sender.answers.get(asking.line)
        if (
            answer is None
            or sender is not self._sender
            or asking.etag is not None
            or sender.revision != self._revision
            or self.last
            or not self._reply(place, answer, answer.log, asking.log)  # type: ignore[arg-type]  # they are of this door
        ):
            return False
        self.numbers.next = number + 2
        return True

    def _reply(self, place: bytes, answer: FramedAnswer, log: bytes, sender_log: bytes) -> bool:
        """Send it on the stream whose number is `place`, if there is room for all of it; whether there is."""
        tally = answer.tally
        size = tally.size
        outflow = self.outflow
        if size > MAX_FRAME_BYTES or size > outflow.window or size > outflow.first_window or self.paused:
            return False
        self._note(answer, log, sender_log)
        if size:
            outflow.window -= size
            self.out += (answer.whole, place, answer.block, place, answer.body)
        else:
            self.out += (answer.whole, place, answer.block)
        self._room -= size + HEAD_ALLOWANCE
        if self._room < 0:
            self._room = ROOM_BYTES
            self.write()
        return True

    def _note(self, answer: FramedAnswer, log: bytes, sender_log: bytes) -> None:
        """It is given now: make it one of this second."""
        self.idle_since = now = self._now
        journal = self.journal
        if now != journal.now:
            journal.tick(self.loop, now)
        if answer.moment is not journal.moment:
            answer.renew(journal.moment)
        answer.entry.used = True
        journal.note(answer.tally, self._peer, log, sender_log)

    def on_block(self, number: int, block: bytes, *, ends: bool) -> None:
        stream = self.streams.get(number)
        if stream is not None:
            self._on_trailers(stream, self._read(block)[0], ends=ends)
            return
        if self.numbers.was_reset(number):
            self._read(block)  # the dynamic table is the connection's
            self.spend(1)
            return
        self.numbers.use(number)
        full = len(self.streams) >= MAX_STREAMS
        asking = None if self.last or full or not ends else self._known.get(block)
        if asking is not None and self._look_up(number, asking):
            return
        fields, changes = self._read(block)
        if self.last:
            # The peer has been told that it is not served, or will be: what follows on it is ignored (RFC 9113 §6.8).
            self.numbers.note_reset(number)
            return
        if full:
            raise StreamFault(Code.REFUSED_STREAM)
        head = read_request_head(fields)
        if ends and head.length:
            raise StreamFault(Code.PROTOCOL_ERROR)
        if ends and self.fast and asking is None and (asking := self.answers.meet_head(head)) is not None:
            if not changes:
                self._keep(block, asking)
            if self._look_up(number, asking):
                return
        self._begin_request(number, head, ends=ends)

    def _keep(self, block: bytes, asking: Asking) -> None:
        if len(block) + len(asking.line) + len(asking.log) <= MAX_KNOWN_BYTES:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[block] = asking

    def _read(self, block: bytes) -> tuple[Fields, bool]:
        fields, changes = self._blocks.read(block)
        if changes:
            self._known.clear()
        return fields, changes

    def _on_trailers(self, stream: Stream, fields: Fields, *, ends: bool) -> None:
        if not stream.reading:
            raise StreamFault(Code.STREAM_CLOSED)
        if not ends:
            raise StreamFault(Code.PROTOCOL_ERROR)
        check_trailers(fields)
        self.end_request(stream)

    def _begin_request(self, number: int, head: RequestHead, *, ends: bool) -> None:
        """A request that takes more than a look-up. Its answer does not depend on its body, but is given when that has
        come, unless it is long, or waits to be asked for (RFC 9110 §10.1.1)."""
        self.idle_since = self._now
        stream = Stream(number, self._now, self.outflow.first_window, reading=not ends, head=head)
        self.streams[number] = stream
        if ends or head.expects_continue or (head.length or 0) > MAX_DRAIN_BYTES:
            self.answer(stream)
        else:
            self.await_request(stream)

    # Answers.

    def _look_up(self, number: int, asking: Asking) -> bool:
        """Answer it from the tables, if it is there."""
        sender = self.answers.find_sender(asking.authority, asking.manner)
        if sender is None or self._server_name not in (None, sender.host):
            return False
        table, line = sender.table, asking.line
        assert table is not None, "whoever was found has one"
        found = self.answers.look_up(table, line, asking.etag)
        if found is None:
            return False
        answer, log = found
        asking.sender = sender
        if sender is not self._sender:
            self._note_visit(table.site)
            self._sender = sender
        assert isinstance(answer, FramedAnswer)
        if self._gives_up_table or not self._reply(number.to_bytes(4, "big"), answer, log, asking.log):
            self._reply_in_frames(number, answer, log, asking.log)
        return True

    def _reply_in_frames(self, number: int, answer: FramedAnswer, log: bytes, sender_log: bytes) -> None:
        """Send it on a stream that stays open until all of it is sent."""
        self._note(answer, log, sender_log)
        stream = Stream(number, self._now, self.outflow.first_window, reading=False, answered=True)
        stream.site = None if self._sender.table is None else self._sender.table.site
        self.streams[number] = stream
        self._send_whole(stream, answer.fields, answer.body)

    def answer(self, stream: Stream) -> None:
        stream.answered = True
        head = stream.head
        assert head is not None, "what is answered here has one"
        try:
            check_size(head)
            request = read_request(head.method.decode("ascii"), head.target, "2", head.headers, self._server_name)
        except Refusal as refusal:
            self._refuse(stream, refusal)
            return
        response = self.edge.respond_nowait(request) if self.fast else None
        if response is None:
            self._call(stream, head)
            return
        if response.status < 400:
            self.answers.remember(request)
        if (site := self.edge.site_of(request)) is not None:
            stream.site = site
            self._note_visit(site)
        self._respond(stream, response, request.authority)

    def time_out(self, stream: Stream) -> None:
        stream.answered = True
        self._refuse(stream, Refusal(408, "the request did not come in time"))

    def _refuse(self, stream: Stream, refusal: Refusal) -> None:
        response = self.edge.refuse(refusal)
        assert stream.head is not None
        if stream.head.method == b"HEAD":  # gets no content (RFC 9110 §9.3.2)
            response = replace(response, body=b"")
        self._respond(stream, response, None)

    def _respond(self, stream: Stream, response: Response, authority: str | None) -> None:
        body, head = response.body, stream.head
        assert isinstance(body, bytes), "memory has it whole"
        assert head is not None
        asked = Asked.read(head.method, head.target, "2", head.headers, authority)
        self.journal.note_answer(self.loop, self._peer, asked, response.status, len(body), response.site_id)
        self._send_whole(stream, render_block(response), body)

    def _send_whole(self, stream: Stream, block: bytes, body: bytes) -> None:
        self._start(stream, block, not body)
        if body:
            self.outflow.add(stream, body, ends=True, now=self._now)

    # Answers that take a task.

    def _call(self, stream: Stream, head: RequestHead) -> None:
        def visit(site: HostedSite) -> None:
            stream.site = site
            self._note_visit(site)

        if self._turns is None:
            self._turns = asyncio.Semaphore(MAX_CALLS)
        extensions: dict[str, object] = {TARGET: head.target, VISIT: visit}
        if self._server_name is not None:
            extensions[EXTENSION] = self._server_name
        call = Call(stream, self._start_call, self._go_on, self._end_call)
        scope = make_scope(head.method, head.target, head.headers, extensions, **self._place)
        stream.task = self.loop.create_task(call.run(self._app, scope, self._turns))
        self._tasks.add(stream.task)
        stream.task.add_done_callback(self._tasks.discard)

    def _start(self, stream: Stream, block: bytes, ends: bool) -> None:
        if self._gives_up_table:
            self._gives_up_table = False
            block = NO_TABLE + block
        self.out += frames.render_headers(stream.number, block, ends=ends)
        if ends:
            self.finish(stream)

    def _start_call(self, stream: Stream, block: bytes, ends: bool) -> None:
        if stream.number in self.streams:
            self._start(stream, block, ends)
            self.flush()

    def _go_on(self, stream: Stream, body: bytes, ends: bool) -> None:
        if stream.number in self.streams:
            self.outflow.add(stream, body, ends=ends, now=self.loop.time())
            self.flush()

    def _end_call(self, number: int, code: Code) -> None:
        if number in self.streams:
            self.reset(number, code)
            self.flush()

    def _note_visit(self, site: HostedSite) -> None:
        """So that the connection ends when the site does."""
        if self in self.connections:  # a task may learn it when the client has left
            self.edge.visits.add(site, self)


def http2_protocol_for(
    edge: Edge, journal: Journal, deadlines: Mapping[Phase, float] = DEADLINES, *, fast: bool = True
) -> type[Http2Protocol]:
    """The protocol class that answers from `edge`: one is made for each connection that turns out to be of HTTP/2."""
    attributes = {"edge": edge, "deadlines": deadlines, "journal": journal, "fast": fast}
    return type("BoundHttp2Protocol", (Http2Protocol,), {**attributes, "answers": FramedAnswers(edge, journal)})
