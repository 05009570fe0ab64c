"""Lists as records: a page of them, or all there are, written as they are read.

However many there are, no more than a page is in memory. What is written while records come and go is what a caller who
pages through the list would get.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias

from starlette.responses import Response, StreamingResponse

from server.control.accept import choose_media_type
from server.control.call import Call
from server.control.forms import CSV, JSON, JSONL, Csv, Form, Json, JsonLines
from server.control.pagination import ListQuery, Order, render_cursor, render_page
from server.control.views import V
from storage.models import Page, PageQuery

AT_ONCE = 100  # records

Read: TypeAlias = Callable[[PageQuery], Awaitable[Page[Any]]]


async def answer_list(
    call: Call, query: ListQuery, kind: str, read: Read, view: type[V], *, default_order: Order = "desc"
) -> Response:
    """A page of a list in JSON; or, for who accepts JSON lines rather, the records of `export`."""
    if choose_media_type(query.accept, (JSON, JSONL)) == JSONL:
        return await _answer(call, query, kind, read, view, JsonLines(), default_order)
    page = await read(query.page(kind, default_order=default_order))
    return call.answer(render_page(kind, page, view.model_validate))


async def export(call: Call, query: ListQuery, kind: str, read: Read, view: type[V]) -> Response:
    """Records in the form that the caller accepts: a page if it asks for so many, else all there are."""
    forms: dict[str, Callable[[], Form]] = {JSON: Json, JSONL: JsonLines, CSV: lambda: Csv(view)}
    form = forms[choose_media_type(query.accept, tuple(forms))]()
    return await _answer(call, query, kind, read, view, form, "desc")


async def _answer(
    call: Call, query: ListQuery, kind: str, read: Read, view: type[V], form: Form, default_order: Order
) -> Response:
    asked = query.page(kind, default_order=default_order)
    if query.take is None:
        asked = replace(asked, take=AT_ONCE)
    page = await read(asked)  # before the answer begins, so that a refusal is one
    headers = {"Content-Type": form.content_type}
    if query.take is None:
        return StreamingResponse(_stream(call, asked, page, read, view, form), headers=headers)
    cursor = render_cursor(kind, page.next) if page.next is not None else ""
    body = form.begin() + await _write(call, page, view, form) + form.end(cursor)
    return Response(body, headers={**headers, "X-Cursor": cursor})


async def _stream(
    call: Call, asked: PageQuery, page: Page[Any], read: Read, view: type[V], form: Form
) -> AsyncIterator[str]:
    yield form.begin()
    yield await _write(call, page, view, form)
    while page.next is not None:
        page = await read(replace(asked, after=page.next))
        yield await _write(call, page, view, form)
    yield form.end("")


async def _write(call: Call, page: Page[Any], view: type[V], form: Form) -> str:
    """In a thread: a page of large records would hold up everybody else."""
    views = [view.model_validate(item) for item in page.items]
    return await asyncio.to_thread(form.write, views, sdk=call.caller.dialect == "sdk")
