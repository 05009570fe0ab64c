"""Who asks: how his header lines want to be answered, and from which table that is done."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from server.doors.tables import Answer, Table
from server.edge.codings import acceptable

NOTHING: Mapping[bytes, Any] = MappingProxyType({})


def _text(field: bytes | None) -> str | None:
    return None if field is None else field.decode("latin-1")


class Manner:
    """What the lines behind a request line mean, without those that tell one visitor or host from another: the same for
    all who use the same browser."""

    __slots__ = ("accept_encoding", "authority", "closes", "codings", "lines", "origin", "referer", "user_agent")

    def __init__(self, lines: bytes, fields: Mapping[bytes, bytes], *, closes: bool) -> None:
        find = fields.get
        self.lines = lines
        self.closes = closes  # the connection, behind the answer
        self.accept_encoding = _text(find(b"Accept-Encoding"))
        self.codings = acceptable(self.accept_encoding)
        self.origin = _text(find(b"Origin"))
        # As sent, where they are not in the words in which they are cut out.
        self.authority = find(b"Host")
        self.referer = find(b"Referer")
        self.user_agent = find(b"User-Agent")


class Sender:
    """Who is served from `table`, as was last seen at `revision`; `answers` are those of it."""

    __slots__ = ("answers", "host", "revision", "table")

    def __init__(self, host: str, table: Table | None, revision: int) -> None:
        self.host = host
        self.table = table
        self.answers: Mapping[bytes, Answer] = NOTHING if table is None else table.answers
        self.revision = revision


Met: TypeAlias = tuple[Manner, Sender, bytes]  # the last is what the log says of the sender

NOBODY = Sender("", None, -2)
NO_MANNER = Manner(b"", NOTHING, closes=False)
