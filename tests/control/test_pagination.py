"""Lists: stable pages, opaque cursors, clear refusals."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.control.pagination import parse_cursor, render_cursor
from storage.errors import Invalid
from tests.control.api import Api, one_store, refused


async def walk(api: Api, path: str, query: str) -> list[str]:
    """The ids of a whole list, page by page."""
    ids: list[str] = []
    cursor = ""
    while True:
        page = await api.fetched(f"{path}?{query}&cursor={cursor}")
        assert set(page) == {"items", "cursor"}
        ids += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
        if not cursor:
            return ids
        assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)


async def test_pages_are_the_whole_in_either_order(api: Api) -> None:
    made = [await api.space() for _ in range(5)]
    assert await walk(api, "space/list", "take=2") == made[::-1]
    assert await walk(api, "space/list", "take=2&order=asc") == made
    assert await walk(api, "space/list", "limit=5&order=desc") == made[::-1]
    assert len((await api.fetched("space/list?take=3"))["items"]) == 3
    assert len((await api.fetched("space/list?limit=4"))["items"]) == 4
    assert len((await api.fetched("space/list?take=1&limit=4"))["items"]) == 1


async def test_a_page_is_twenty_items_unless_told(api: Api) -> None:
    for _ in range(21):
        await api.space()
    page = await api.fetched("space/list")
    assert len(page["items"]) == 20
    assert len((await api.fetched(f"space/list?cursor={page['cursor']}"))["items"]) == 1


async def test_pages_stay_while_rows_come_and_go(api: Api) -> None:
    made = [await api.space() for _ in range(4)]
    page = await api.fetched("space/list?take=2")
    await api.created(f"space/{made[2]}/delete")
    await api.space()
    rest = await api.fetched(f"space/list?take=2&cursor={page['cursor']}")
    assert [item["id"] for item in rest["items"]] == [made[1], made[0]]


@pytest.mark.slow
async def test_every_list_has_pages(api: Api) -> None:
    space = await api.space()
    sites = [await api.site(space, f"s{number}.localhost") for number in range(3)]
    files = [await api.upload(space, f"é/{number}") for number in range(3)]
    deployments = [await api.created(f"space/{space}/deployment/create", {"files": {}}) for _ in range(3)]
    keys = [await api.created("key/create", {"name": "x", "scopes": ["spaces:read"]}) for _ in range(3)]
    assert await walk(api, f"space/{space}/site/list", "take=1") == sites[::-1]
    assert await walk(api, f"space/{space}/storage/list", "take=1&recursive=true") == files
    assert await walk(api, f"space/{space}/storage/list/%C3%A9", "take=2&order=desc") == files[::-1]
    assert await walk(api, f"space/{space}/deployment/list", "take=1") == deployments[::-1]
    assert await walk(api, "key/list", "take=1&order=asc") == keys


@one_store
@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("take=0", "take"),
        ("take=101", "take"),
        ("take=-1", "take"),
        ("take=ten", "take"),
        ("take=1.5", "take"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("order=", "order"),
        ("meta=gold", "meta"),
        ("meta[]=gold", "meta"),
        ("meta.=gold", "meta"),
        ("meta[tier=gold", "meta"),
        ("meta[tier]x=gold", "meta"),
        ("meta[tier][level]=gold", "meta"),
        ("meta[tier]=gold&meta.tier=tin", "meta"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%00", "query"),
        ("cursor=*", "cursor"),
        ("cursor=é", "cursor"),
        ("cursor=A", "cursor"),
    ],
)
async def test_a_bad_query_is_refused_and_named(api: Api, query: str, path: str) -> None:
    refused(await api.get(f"space/list?{query}"), 400, "BAD_REQUEST", path)


async def test_a_cursor_is_for_its_own_list(api: Api) -> None:
    space = await api.space()
    await api.space()
    cursor = (await api.fetched("space/list?take=1"))["cursor"]
    for path in ("key/list", f"space/{space}/site/list", f"space/{space}/storage/list"):
        refused(await api.get(f"{path}?cursor={cursor}"), 400, "BAD_REQUEST", "cursor")


@given(st.text(min_size=1, alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_cursor_holds_any_key(after: str) -> None:
    assert parse_cursor(render_cursor("file", after), "file") == after


@given(st.text(max_size=40))
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not a cursor of this list"):
        parse_cursor(text, "file")


@pytest.mark.parametrize("key", [b"", b"\xff", b"a\0b"])
def test_a_key_that_no_list_has_is_refused(key: bytes) -> None:
    with pytest.raises(Invalid, match="is not a cursor of this list"):
        parse_cursor(base64.urlsafe_b64encode(b"file:" + key).decode().rstrip("="), "file")


async def test_filters_by_meta_are_counted(api: Api) -> None:
    for count, status in ((20, 200), (21, 400), (3000, 400)):
        query = "&".join(f"meta.k{number}=v" for number in range(count))
        answer = await api.get(f"space/list?{query}")
        assert answer.status_code == status
    assert "20 at most" in refused(answer, 400, "BAD_REQUEST", "meta")


async def test_names_that_only_begin_like_a_filter_are_none(api: Api) -> None:
    await api.space(meta={"a\nb": "x", "c.d[]": "y"})
    for query in ("metadata=1", "meta.a%0Ab=x&meta%5Ba%0Ab%5D=x", "meta.c.d[]=y"):
        assert len((await api.fetched(f"space/list?{query}"))["items"]) == 1
    assert (await api.fetched("space/list?meta.c.d[]=z"))["items"] == []
