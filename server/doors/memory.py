"""A connection whose requests are answered at once, without a task, where memory can answer them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from server.doors.answers import Answers
from server.doors.head import Head
from server.doors.http1 import render_head
from server.doors.journal import Asked
from server.doors.open_files import OpenFile, OpenFiles
from server.doors.sending import Sending, SendingProtocol
from server.edge.request import Refusal, Request, read_request, split_target
from server.edge.response import Parts, Response
from storage.models import HostedSite

NOT_VISITED: tuple[str | None, int] = (None, -1)


class MemoryProtocol(SendingProtocol):
    """One connection. What it answers from is remembered in `answers` too, and `files` stay open."""

    __slots__ = ("_visited",)

    answers: Answers
    files: OpenFiles

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._visited = NOT_VISITED  # authority and revision that `_site` was found by
        super().connection_made(transport)

    def visit(self, site: HostedSite) -> None:
        super().visit(site)
        self._visited = NOT_VISITED

    def _serve(self, head: Head, *, keep_alive: bool) -> bool:
        found = self._find(head)
        if found is None:
            return super()._serve(head, keep_alive=keep_alive)
        asked, response, file = found
        self._head = None
        last = not keep_alive or not head.keep_alive or self._last or (self._half_closed and not self._buffer)
        sender = self.journal.format.sender(asked.host, asked.referer, asked.user_agent)
        line = asked.method, asked.target, asked.protocol
        sending = Sending(line, sender, response.status, response.site_id, last)
        return self._send(sending, render_head(response), response.body, file)

    def _find(self, head: Head) -> tuple[Asked, Response, OpenFile | None] | None:
        """What memory has for it, if now is the time; with the open file where its body is a span of that."""
        if self._writing_paused:  # the base waits until the client has taken what there is
            return None
        try:
            request = read_request(
                head.method.decode("ascii"), head.target, head.version, head.headers, self._server_name
            )
        except Refusal as refusal:
            authority, _, _ = split_target(head.target)  # raises where there is no telling: that ends the connection
            response = self.edge.refuse(refusal)
            host = None if authority is None else authority.decode("latin-1")
            asked = Asked.read(head.method, head.target, head.version, head.headers, host)
            return asked, (replace(response, body=b"") if head.method == b"HEAD" else response), None
        known = self.edge.respond_nowait(request, self._can_send)
        if known is None:
            return None
        file = None
        if isinstance(known.body, Parts):
            file = self.files.find(known.body.blob.digest)
            if file is None:
                return None
        if known.status < 400 and head.version == "1.1":
            self.answers.remember(request)
        self._note_visit(request)
        return Asked.read(head.method, head.target, head.version, head.headers, request.authority), known, file

    def _note_visit(self, request: Request) -> None:
        """Note whose site `request`, just answered, is for."""
        visited = request.authority, self.edge.revision
        if visited != self._visited and (site := self.edge.site_of(request)) is not None:
            self.visit(site)
            self._visited = visited
