"""The protocol that owns every HTTP/1.1 connection of the edge: uvicorn's, with our reader, limits and deadlines.

Bytes collect in a buffer. Once a message is whole there, strictly read and its body drained, uvicorn is driven through
the very callbacks that its own parser would call, one message at a time; what is pipelined behind it waits. Refusals
are the edge's own pages. A connection is in one of the phases below, each with its deadline:

    IDLE      between messages                     closed silently
    READING   a message has begun                  408
    SERVING   uvicorn answers                      none, unless the client stops reading
    WRITING   the client does not take the answer  dropped
    FLUSHING  all is written, not all of it taken  dropped, if nothing was taken meanwhile
    CLOSING   the last answer is on its way        dropped, sooner if all of it has left

What uvicorn keeps for a connection is made when it is first to answer there, which for most is never: `_wake`. Its
attributes used here: app_state, config, connections, cycle, flow, headers, loop, parser, server_state, transport, url,
and the cycle's keep_alive, more_body, message_event, response_complete and transport. A test lists them; uvicorn is
pinned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from server.doors import asgi, phases, tls
from server.doors.h2.frames import PREFACE
from server.doors.head import Head, find_head_end, glimpse, parse_head
from server.doors.journal import Asked, Journal
from server.doors.phases import DEADLINES, LAST_CALL_SECONDS, MAX_DISCARDED_BYTES, Phase, drop, end_writing
from server.doors.seam import LastAnswer, LateProtocol, ReadHead, Successor
from server.edge.edge import Edge
from server.edge.request import Refusal, split_target
from server.edge.response import Response
from server.edge.visits import VISIT
from storage.models import HostedSite

MAX_PIPELINED_BYTES = 64 * 1024  # kept behind a message that is being answered


class EdgeProtocol(LateProtocol):
    """One connection. What it answers from is set by `protocol_for`."""

    # Not in the instance's dictionary, which uvicorn fills up to where dictionaries cease to share their keys: that
    # would take 1.5 KB more for each connection.
    __slots__ = (
        "_buffer", "_cutting", "_deadline", "_discarded", "_due", "_had_empty_line", "_half_closed", "_head", "_last",
        "_peer", "_phase", "_reading_paused", "_seen", "_server_name", "_site", "_timer", "_untaken",
    )  # fmt: skip

    edge: Edge
    journal: Journal
    deadlines: Mapping[Phase, float]
    http2: type[Successor]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connections.add(self)
        self.transport = transport
        address = transport.get_extra_info("peername")
        self._peer = self.journal.format.peer(address[0] if address else "")
        self._server_name: str | None = None  # that the handshake was for
        self._buffer = bytearray()
        self._seen = 0  # of _buffer, without the end of a head
        self._head: Head | None = None  # read, its body not yet
        self._had_empty_line = False  # before the request line of the message under way
        self._half_closed = False  # the client sends nothing more
        self._last = False  # the next answer is the last: the server stops
        self._reading_paused = False
        self._discarded = 0
        self._untaken = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when _timer goes off
        self._cutting: asyncio.TimerHandle | None = None
        self._site: HostedSite | None = None  # that the last request was for
        self._phase = Phase.IDLE
        self._set_deadline(self.loop.time() + self.deadlines[Phase.IDLE])
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self._server_name = getattr(ssl_object, "server_name", None)
            if ssl_object.selected_alpn_protocol() == "h2":
                self._hand_over()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._cutting is not None:
            self._cutting.cancel()
        if self._site is not None:
            self.edge.visits.remove(self)
        if self.flow is None:
            self.connections.discard(self)
        else:
            super().connection_lost(exc)

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()

    # Reading

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.CLOSING:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES:
                self._drop()
            return
        self._buffer += data
        if self._busy:
            if len(self._buffer) > MAX_PIPELINED_BYTES:
                self._pause_reading()
        else:
            self._advance()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has nothing more to say. It still gets every answer that it waits for (RFC 9112 §9.6)."""
        if not self._busy:
            return False  # asyncio closes
        self._half_closed = True
        if not self._buffer:
            self._make_last()
        return True

    @property
    def _busy(self) -> bool:
        return self._phase is Phase.SERVING or self._phase is Phase.WRITING

    def _advance(self) -> None:
        """Serve the messages in the buffer that are whole, up to one whose answer takes a while."""
        try:
            while self._serve_next():
                pass
        except Refusal as refusal:
            if self._may_be_http2:
                self._meet_http2()
            else:
                self._refuse(refusal)
            return
        if self._phase in (Phase.IDLE, Phase.FLUSHING) and (self._buffer or self._head is not None):
            self._enter(Phase.READING)

    def _read_head(self) -> Head | None:
        if not self._had_empty_line and self._buffer[:2] == b"\r\n":  # RFC 9112 §2.2: ignored, once
            del self._buffer[:2]
            self._seen = 0
            self._had_empty_line = True
        end = find_head_end(self._buffer, self._seen)
        self._seen = len(self._buffer)
        if end < 0:
            return None
        head = parse_head(bytes(self._buffer[: end - 4]))
        del self._buffer[:end]
        self._seen = 0
        self._had_empty_line = False
        return head

    def _serve_next(self) -> bool:
        """Serve the message at the front of the buffer if it is whole; whether the next one's turn has come."""
        if self._head is None:
            self._head = self._read_head()
        head = self._head
        if head is None:
            return False
        body = head.body
        if body is None or body.feed(self._buffer):  # whole
            return self._serve(head, keep_alive=True) and bool(self._buffer)
        if body.too_long or head.expects_continue:
            # The answer does not depend on the body: say it now rather than have the body sent (RFC 9110 §10.1.1).
            self._serve(head, keep_alive=False)
        return False

    # HTTP/2

    @property
    def _may_be_http2(self) -> bool:
        """Whether all that has come is the beginning of a connection whose client knows that we speak it (RFC 9113
        §3.3). HTTP/1.1 refuses that, so finding out costs nobody anything."""
        begins = self._head is None and self._buffer and PREFACE.startswith(bytes(self._buffer[: len(PREFACE)]))
        return bool(begins) and self.cycle is None and self._site is None and not self._untaken

    def _meet_http2(self) -> None:
        if len(self._buffer) >= len(PREFACE):
            self._hand_over(bytes(self._buffer))
        else:
            self._seen = 0
            self._enter(Phase.READING)

    def _hand_over(self, data: bytes = b"") -> None:
        """Leave the connection to the other protocol."""
        if self._timer is not None:
            self._timer.cancel()
        self._wake()  # for what it knows of the client
        self.connections.discard(self)
        self.http2(self).begin(data)

    # Serving

    def _serve(self, head: Head, *, keep_alive: bool) -> bool:
        """Drive uvicorn as its parser would for `head`, without a body. True if the answer has been given by then."""
        authority, path, query = split_target(head.target)
        self._head = None
        self._enter(Phase.SERVING)
        if self.flow is None:
            self._wake()
        self.parser = ReadHead(head)  # type: ignore[assignment]
        self.on_message_begin()
        extensions: dict[str, object] = {asgi.TARGET: head.target, VISIT: self.visit}
        if self._server_name is not None:
            extensions[tls.EXTENSION] = self._server_name
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item]
        self.on_url(path + (b"?" + query if query else b""))
        if authority is None:
            headers = head.headers
        else:  # uvicorn forgets the authority of an absolute-form target, which replaces Host (RFC 9112 §3.2.2)
            headers = [(name, authority if name == b"host" else value) for name, value in head.headers]
            if head.version == "1.0" and all(name != b"host" for name, _ in headers):
                headers.append((b"host", authority))
        for name, value in headers:
            self.on_header(name, value)
        self.expect_100_continue = False
        self.on_headers_complete()
        if not keep_alive or self._last or (self._half_closed and not self._buffer):
            self.cycle.keep_alive = False
        self.cycle.transport = LastAnswer(self.transport, self.finish_connection)  # type: ignore[assignment]
        self.on_message_complete()
        return False

    def on_response_complete(self) -> None:
        """uvicorn calls this at the end of each answer."""
        self.server_state.total_requests += 1
        if self._phase is Phase.CLOSING or self.transport.is_closing():
            return
        self._untaken = self._count_untaken()
        self._enter(Phase.FLUSHING if self._untaken else Phase.IDLE)
        self._resume_reading()
        if self._buffer:
            self._advance()
        if self._half_closed and not self._busy:
            self.finish_connection()  # what is left in the buffer is no whole request, and never will be

    def _refuse(self, refusal: Refusal) -> None:
        response = self.edge.refuse(refusal)
        # HEAD gets no content (RFC 9110 §9.3.2), be the rest of its request malformed or late.
        head = self._head
        if self._buffer.startswith(b"HEAD ") if head is None else head.method == b"HEAD":
            response = replace(response, body=b"")
        assert isinstance(response.body, bytes), "a refusal's page is at hand"
        self.transport.write(b"%bconnection: close\r\n\r\n%b" % (render_head(response), response.body))
        asked = (
            Asked(*glimpse(self._buffer))
            if head is None
            else Asked.read(head.method, head.target, head.version, head.headers)
        )
        self.journal.note_answer(self.loop, self._peer, asked, response.status, len(response.body))
        self._buffer.clear()
        self.finish_connection()

    # Closing

    def shutdown(self) -> None:
        """The server stops: finish what is being answered, and nothing more."""
        self._last = True
        if self._busy:
            self._make_last()
        else:  # a request may be on its way: closing now would leave it without an answer
            self.loop.call_later(LAST_CALL_SECONDS, self._close_unless_busy)

    def _make_last(self) -> None:
        """Let the answer under way be the connection's last."""
        self.cycle.keep_alive = False

    def _close_unless_busy(self) -> None:
        if not self._busy:
            self.transport.close()

    def visit(self, site: HostedSite) -> None:
        """Note whose site the request is for that is answered now."""
        self._site = site
        if self in self.connections:  # a task may learn it when the client has left
            self.edge.visits.add(site, self)

    def site_gone(self, domains: Collection[str]) -> None:
        """End at once; what is being answered has a moment to finish, and all the time it needs if it is of a site
        that stays."""
        if self._cutting is None and self._site is not None and self._site.domain in domains:
            self._cutting = self.loop.call_later(phases.GONE_SECONDS, self._drop)
        if not self._busy and not self._buffer:
            self.transport.close()
        elif not self._last:
            self.shutdown()

    def finish_connection(self) -> None:
        """Close once the client has taken what was written. Closing with unread bytes would reset the connection and
        could destroy the answer on its way (RFC 9112 §9.6), so they are read and thrown away for a while."""
        if self._phase is Phase.CLOSING or self.transport.is_closing():
            return
        self._buffer.clear()
        self._untaken = self._count_untaken()
        self._enter(Phase.CLOSING)
        self._resume_reading()
        end_writing(self.transport)

    # Deadlines

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self.flow is not None:
            super().pause_writing()
        if self._phase is Phase.SERVING:
            self._untaken = self._count_untaken()
            self._enter(Phase.WRITING)

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self.flow is not None:
            super().resume_writing()
        if self._phase is Phase.WRITING:
            self._enter(Phase.SERVING)

    def _enter(self, phase: Phase) -> None:
        """Change phase. A timer that is due too early is left to find that out: most deadlines never come."""
        if phase is Phase.SERVING and self._writing_paused:
            # The client has yet to take the answer before, and nobody will tell us again that it does not.
            self._untaken = self._count_untaken()
            phase = Phase.WRITING
        self._phase = phase
        allowed = phase if phase is not Phase.CLOSING or not self._untaken else Phase.WRITING
        self._set_deadline(self.loop.time() + self.deadlines[allowed])

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is not None and self._due > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and self._phase is not Phase.SERVING:
            self._timer = self.loop.call_at(deadline, self._on_timer)
            self._due = deadline

    def _on_timer(self) -> None:
        self._timer = None
        if self._phase is Phase.SERVING:
            return
        if self.loop.time() < self._deadline:
            self._set_deadline(self._deadline)
            return
        untaken = self._count_untaken()
        if self.transport.is_closing():  # and not closed yet: the client has gone, or does not take the rest
            self._drop()
        elif self._phase is Phase.READING:
            self._refuse(Refusal(408, "the request did not come in time"))
        elif self._phase is Phase.FLUSHING and not untaken:
            self._phase = Phase.IDLE  # it has been since the last answer, or soon after
            self._set_deadline(self._deadline - self.deadlines[Phase.FLUSHING] + self.deadlines[Phase.IDLE])
        elif 0 < untaken < self._untaken:
            self._untaken = untaken  # slow, but it does read
            self._enter(self._phase)
        elif untaken:
            self._drop()
        else:
            self.transport.close()

    def _count_untaken(self) -> int:
        return phases.count_untaken(self.transport, self._count_unsent())

    def _count_unsent(self) -> int:
        """Bytes of answers that the kernel has not taken yet."""
        return self.transport.get_write_buffer_size()

    def _drop(self) -> None:
        drop(self.transport)


def protocol_for(
    edge: Edge, journal: Journal, http2: type[Successor], deadlines: Mapping[Phase, float] = DEADLINES
) -> type[EdgeProtocol]:
    """The protocol class that answers from `edge`: uvicorn makes one for each connection."""
    attributes = {"edge": edge, "deadlines": deadlines, "journal": journal, "http2": http2}
    return type("BoundEdgeProtocol", (EdgeProtocol,), attributes)


def render_head(response: Response) -> bytes:
    """The head of a response as uvicorn writes it, up to where more header lines or the empty line go."""
    return STATUS_LINE[response.status] + b"".join([b"%b: %b\r\n" % header for header in response.headers])
