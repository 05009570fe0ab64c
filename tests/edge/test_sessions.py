"""Sessions on their way to the store."""

from __future__ import annotations

import pytest

from server.edge.decision import NO_FILE
from server.edge.request import Refusal, Request
from server.edge.sessions import SessionDesk
from server.edge.widgets import hosted
from storage.models import PageQuery
from storage.widget_edits import MAX_PAGE
from tests.support.hosting import memory_hosting


def report(query: str) -> Request:
    return Request(method="POST", authority="widget.test", path="/", query=query, origin="https://a.test")


async def test_what_is_kept_of_a_session() -> None:
    async with memory_hosting() as hosting:
        widget = await hosting.widget("aaaaaaaa", "a.test")
        desk = SessionDesk(hosting.metadata, hosting.clock)
        for query in ("page=%2Fmenu%2F%C3%A9", "", "page=", "other=1&page=/a&page=/b"):
            assert (await desk.add(hosted(widget), report(query))).status == 204
        kept = await hosting.metadata.list_sessions(widget.id, PageQuery(descending=False))
        assert sorted(session.page for session in kept.items) == ["", "", "/a", "/menu/é"]


@pytest.mark.parametrize("query", ["page=menu", "page=https://a.test/", "page=/%00", f"page=/{'x' * MAX_PAGE}"])
async def test_what_is_refused(query: str) -> None:
    async with memory_hosting() as hosting:
        widget = await hosting.widget("aaaaaaaa", "a.test")
        with pytest.raises(Refusal, match="page") as refused:
            await SessionDesk(hosting.metadata, hosting.clock).add(hosted(widget), report(query))
        assert refused.value.status == 400
        assert not (await hosting.metadata.list_sessions(widget.id, PageQuery())).items


async def test_a_widget_that_is_deleted_just_now() -> None:
    async with memory_hosting() as hosting:
        widget = await hosting.widget("aaaaaaaa", "a.test")
        await hosting.metadata.delete_widget(widget.id)
        answer = await SessionDesk(hosting.metadata, hosting.clock).add(hosted(widget), report("page=/"))
        assert answer is NO_FILE
