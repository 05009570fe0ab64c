"""What repeats in the heads of one connection, with gaps for what does not.

Lines that differ from those before in nothing but what stands in the gaps are as well-formed, and mean what those
meant, so that most of a head is compared and little of it read.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TypeAlias

from server.doors.log_format import LogFormat

# The names as browsers write them; a field of that name that is written otherwise, or is there again, is read with the
# rest.
HOST = b"\r\nHost: "
USER_AGENT = b"\r\nUser-Agent: "
COOKIE = b"\r\nCookie: "
REFERER = b"\r\nReferer: "
IF_NONE_MATCH = b"\r\nIf-None-Match: "
IF_MODIFIED_SINCE = b"\r\nIf-Modified-Since: "
RANGE = b"\r\nRange: "

_SENDERS = frozenset({USER_AGENT, COOKIE, REFERER})
_CONDITIONS = frozenset({IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE})
_END = b"\r\n"
# What may be in the value of a field that is taken as it is, mapped to itself; all else to something else.
_TEXT = bytes(octet if 0x20 <= octet < 0x7F else 0x20 for octet in range(256))

Names: TypeAlias = tuple[bytes, bytes, bytes]  # Host, Referer and User-Agent, as the log has them; b"": none


def is_text(value: bytes) -> bool:
    """Whether it can be the value of a field without a closer look."""
    return value.translate(_TEXT) == value  # a third of the time that deleting takes


class Shape:
    """Header lines, from the end of the request line to the empty one, with gaps.

    `etag`, `span`, `referer` and `user_agent` say which gap is theirs; there is one at least. `names` are what the
    lines say of their sender, where some of the gaps are for that. It `adjoins` if no line that repeats stands between
    two with gaps: then `cut` leaves nothing of which one has to see whether it is as it was.
    """

    __slots__ = (
        "_around", "_before", "_begin", "_behind", "_format", "_mark", "_marks", "_stop", "adjoins", "etag", "names",
        "referer", "span", "user_agent",
    )  # fmt: skip

    def __init__(
        self, lines: bytes, gaps: Set[bytes], names: Names | None = None, log_format: LogFormat | None = None
    ) -> None:
        """`lines` are well-formed; where a mark of `gaps` is there for the first time, there is the gap. `names` are
        put into words by `log_format`."""
        pieces = [b""]
        places: dict[bytes, int] = {}
        for line in lines.removeprefix(_END).split(_END):
            mark = _mark_of(line)
            if mark in gaps and mark not in places:
                if places:
                    pieces[-1] += mark
                else:
                    self._before = pieces[-1]
                    pieces[-1] = mark
                places[mark] = len(places)
                pieces.append(b"")
            else:
                pieces[-1] += _END + line
        self._mark, *self._marks, self._behind = pieces  # with a gap behind each; of lines between them, the last
        self.adjoins = gaps >= set(self._marks)
        self._begin, self._stop = len(self._before), -len(self._behind)
        self.names = names
        self._format = log_format
        # What the log has before and behind the user agent.
        self._around = (b"", b"") if names is None or log_format is None else log_format.around_agent(*names[:2])
        self.etag = places.get(IF_NONE_MATCH)
        self.span = places.get(RANGE)
        self.referer = places.get(REFERER)
        self.user_agent = places.get(USER_AGENT)

    def cut(self, head: bytes, end: int) -> bytes:
        """The lines that have gaps, and those between, at which `fit` looks first; b"" if what is before or behind them
        is not of this shape. The head's first line ends at `end`."""
        if head.startswith(self._before, end) and head.endswith(self._behind):
            return head[end + self._begin : self._stop]  # b"" too if one overlaps the other
        return b""

    def fit(self, rest: bytes) -> list[bytes] | None:
        """The values in the gaps, if `rest` (of `cut`) is of this shape."""
        last = rest.removeprefix(self._mark)
        if last is rest:
            return None
        values: list[bytes] = []
        for mark in self._marks:
            value, found, last = last.partition(mark)
            if not found:
                return None
            values.append(value)
        values.append(last)
        together = b"".join(values)
        return values if together.translate(_TEXT) == together else None

    def conditions(self, values: Sequence[bytes]) -> tuple[bytes | None, bytes | None]:
        """If-None-Match and Range, of `fit`."""
        etag, span = self.etag, self.span
        return None if etag is None else values[etag], None if span is None else values[span]

    def say(self, values: Sequence[bytes]) -> bytes:
        """What the log says of who sent `values`, of `fit`."""
        names, log_format = self.names, self._format
        assert names is not None, "these are of senders"
        assert log_format is not None, "who have words in the log"
        host, _, user_agent = names
        if self.user_agent is not None:
            user_agent = values[self.user_agent].strip(b" \t")
        if self.referer is not None:
            return log_format.sender(host, values[self.referer].strip(b" \t"), user_agent)
        before, behind = self._around
        return before + log_format.agent(user_agent) + behind


def _mark_of(line: bytes) -> bytes:
    return _END + line[: line.find(b": ") + 2]


def shape_of_conditions(lines: bytes) -> Shape:
    """That of who asks for one thing after another that he has, or for parts."""
    return Shape(lines, _CONDITIONS)


def shape_of_senders(before: bytes, lines: bytes, names: Names, log_format: LogFormat) -> Shape | None:
    """That of who has changed between the two what he says of himself, `names` by now, and nothing else. Neither has
    conditions."""
    old, new = before.split(_END), lines.split(_END)
    if len(old) != len(new):
        return None
    changed = {_mark_of(now) for then, now in zip(old, new, strict=True) if then != now}
    return Shape(lines, changed, names, log_format) if changed and changed <= _SENDERS else None
