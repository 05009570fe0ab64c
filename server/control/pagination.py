"""Lists: which part is asked for, which items are kept, and the cursor that continues.

A cursor is the base64url of the list's kind and the last item's key. Callers are to treat it as opaque.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, Query
from starlette.requests import Request

from server.control.errors import MAX_ECHO
from server.control.openapi import NO_NUL
from server.control.views import ListView, V
from storage.errors import Invalid
from storage.models import Page, PageQuery

DEFAULT_TAKE = 20
MAX_TAKE = 100
MAX_META_FILTERS = 20  # a thousand would be more than SQLite parses

Order: TypeAlias = Literal["asc", "desc"]

_META_FILTER = re.compile(r"meta(?:\[(?P<bracketed>[^\[\]]+)\]|\.(?P<dotted>.+))", re.DOTALL)
_LIKE_META = re.compile(r"meta(?:$|[\[.])")  # what cannot be meant otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """The parameters that every list takes."""

    cursor: str
    order: Order | None
    take: int | None  # None: as many as is usual, or all of an export
    accept: str | None  # the header: in which form

    def page(self, kind: str, *, default_order: Order = "desc") -> PageQuery:
        """The store's question; raises `Invalid` if the cursor is none of a list of `kind`."""
        after = parse_cursor(self.cursor, kind) if self.cursor else None
        return PageQuery(
            after=after, take=self.take or DEFAULT_TAKE, descending=(self.order or default_order) == "desc"
        )


async def _list_query(
    request: Request,
    cursor: Annotated[str, Query(description="Continues a list: the `cursor` of its last page")] = "",
    order: Annotated[Order | None, Query(description="By creation, `desc` by default; files by path, `asc`")] = None,
    take: Annotated[
        int | None, Query(ge=1, le=MAX_TAKE, description=f"Items a page, {DEFAULT_TAKE} by default")
    ] = None,
    limit: Annotated[int | None, Query(ge=1, le=MAX_TAKE, description="The same as `take`")] = None,
) -> ListQuery:
    return ListQuery(cursor=cursor, order=order, take=take or limit, accept=request.headers.get("accept"))


async def _meta_filter(request: Request) -> dict[str, str]:
    """Raises `Invalid` for one that is misspelled: a list of everything is no answer to it."""
    wanted: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if match := _META_FILTER.fullmatch(name):
            key = match["bracketed"] or match["dotted"]
            if wanted.setdefault(key, value) != value:
                raise Invalid("meta", f"is to have two values at once for {key[:MAX_ECHO]!r}: name one")
        elif _LIKE_META.match(name):
            raise Invalid("meta", "filters by one key and its value: meta[key]=value or meta.key=value")
    if len(wanted) > MAX_META_FILTERS:
        raise Invalid("meta", f"filters by {len(wanted)} keys: name {MAX_META_FILTERS} at most")
    return wanted


CurrentListQuery = Annotated[ListQuery, Depends(_list_query)]
MetaFilter = Annotated[dict[str, str], Depends(_meta_filter)]

# In a URL each of them is text.
_SCALARS = ({"type": "string", "pattern": NO_NUL}, {"type": "number"}, {"type": "boolean"}, {"type": "null"})
META_FILTER_PARAMETER: dict[str, Any] = {
    "name": "meta",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "description": "Keeps items whose meta has each key with that value: `meta[key]=value` or `meta.key=value`, "
    f"{MAX_META_FILTERS} at most",
    "schema": {
        "type": "object",
        "propertyNames": {"pattern": r"^[^\[\]\u0000]+$"},
        "additionalProperties": {"anyOf": list(_SCALARS)},
    },
}


def render_cursor(kind: str, after: str) -> str:
    """The cursor that continues a list of `kind` after the item whose key is `after`."""
    return base64.urlsafe_b64encode(f"{kind}:{after}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str, kind: str) -> str:
    """The key in `cursor`; raises `Invalid`."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    found, _, after = text.partition(":")
    if found != kind or not after or "\0" in after:
        raise Invalid("cursor", "is not a cursor of this list: use the one of its last page, or none")
    return after


def render_page(kind: str, page: Page[Any], view: Callable[[Any], V]) -> ListView[V]:
    """The page as an answer."""
    cursor = "" if page.next is None else render_cursor(kind, page.next)
    return ListView(items=[view(item) for item in page.items], cursor=cursor)
