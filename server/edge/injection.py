"""The widget's tag in the pages of a hosted site that asks for it.

It becomes a part of a page before that is hashed, compressed and kept: a request for what is kept costs nothing more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from html import escape

from server.edge.made import Made, make
from server.edge.media_types import content_type
from server.edge.widgets import SCRIPT_PATH
from storage.models import Digest, File, HostedSite

MAX_PAGE_BYTES = 1024 * 1024  # larger ones stay as they are
HEAD_BYTES = 1024  # in which a page says that it is one

_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks, which outdo what Content-Type says (WHATWG Encoding §6)
_RAW = ((b"<!--", b"-->"), (b"<script", b"</script"))  # in which "</body" is no tag
# A body's end has nothing but comments and the end of <html> behind it. A "</body" that an attribute (srcdoc),
# a <textarea> or the like holds has their end there, which a tag put before it would break open.
_END = re.compile(rb"</body[^<>\"']*+>?")
_BEHIND = re.compile(rb"\s++|</html[^<>\"']*+>?|<!--.*?(?:-->|\Z)", re.DOTALL)


def tag_for(base: str, site_id: str) -> bytes:
    """The tag. `base` is the URL of the widget's host, possibly without a scheme."""
    return f'<script src="{escape(base)}{SCRIPT_PATH}" data-site-id="{site_id}" async></script>'.encode()


def add_tag(html: bytes, tag: bytes) -> bytes | None:
    """`html` with `tag` before the end of its body; None where it is to stay as it is: it has such a tag already, or is
    a piece of a page, or is in an encoding that the tag is not in."""
    lower = html.lower()
    if html.startswith(_UTF16) or (SCRIPT_PATH.encode() in lower and b"data-site-id" in lower):
        return None
    end = lower.rfind(b"</body")
    head = lower[:HEAD_BYTES]
    if end < 0 and b"<!doctype" not in head and b"<html" not in head:
        return None
    is_held = any(lower.rfind(start, 0, end) > lower.rfind(stop, 0, end) for start, stop in _RAW)
    if end < 0 or is_held or not _is_last(lower, end):
        end = len(html)  # what is behind the end of a body belongs to the body (WHATWG HTML §13.2.6.4.19)
    return html[:end] + tag + html[end:]


def _is_last(lower: bytes, start: int) -> bool:
    """Whether the "</body" at `start` is the end of the page's body."""
    found = _END.match(lower, start)
    while found is not None and found.end() < len(lower):
        found = _BEHIND.match(lower, found.end())
    return found is not None


async def read_tagged(
    read: Callable[[Digest], Awaitable[bytes]], site: HostedSite, file: File, base: str
) -> Made | None:
    """`file` of `site`, which `read` reads, with the tag of the site's widget; None if it goes without.

    Raises as `read` does.
    """
    if site.widget is None or file.size > MAX_PAGE_BYTES or not content_type(file.path).startswith("text/html"):
        return None
    # In a thread: compressing takes some milliseconds.
    tag = tag_for(base, site.widget)
    return await asyncio.to_thread(_tag, content_type(file.path), await read(file.digest), tag)


def _tag(media_type: str, html: bytes, tag: bytes) -> Made | None:
    tagged = add_tag(html, tag)
    return None if tagged is None else make(media_type, tagged)
