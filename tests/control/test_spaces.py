"""Spaces, as an operator calls them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.control.api import Api, one_store, refused

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SPACE_ID = re.compile(r"space_[0-9a-z]{38}")


async def test_a_space_from_creation_to_deletion(api: Api) -> None:
    answer = await api.post(
        "space/create",
        {
            "name": "Customer Support",
            "description": "For support",
            "contactId": "contact_abc123",
            "alias": "support",
            "meta": {"department": "support", "priority": "high"},
        },
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"id"}
    id = answer.json()["id"]
    assert SPACE_ID.fullmatch(id)

    space = await api.fetched(f"space/{id}/fetch")
    created, updated = space.pop("createdAt"), space.pop("updatedAt")
    assert TIME.fullmatch(created)
    assert updated == created
    assert space == {
        "id": id,
        "alias": "support",
        "name": "Customer Support",
        "description": "For support",
        "contactId": "contact_abc123",
        "meta": {"department": "support", "priority": "high"},
    }

    assert await api.created(f"space/{id}/update", {"name": "Premium", "meta": {"tier": "premium"}}) == id
    space = await api.fetched(f"space/{id}/fetch")
    assert space["name"] == "Premium"
    assert space["description"] == "For support"
    assert space["meta"] == {"department": "support", "priority": "high", "tier": "premium"}

    assert await api.created(f"space/{id}/delete") == id
    assert refused(await api.get(f"space/{id}/fetch"), 404, "NOT_FOUND") == f"space '{id}' does not exist"
    refused(await api.post(f"space/{id}/delete"), 404, "NOT_FOUND")


async def test_an_empty_body_makes_an_empty_space(api: Api) -> None:
    id = await api.created("space/create", content=b"", headers={"Content-Type": "application/json; charset=utf-8"})
    space = await api.fetched(f"space/{id}/fetch")
    fields = ("alias", "name", "description", "contactId", "meta")
    assert {name: space[name] for name in fields} == {
        "alias": None,
        "name": "",
        "description": "",
        "contactId": None,
        "meta": {},
    }


@pytest.mark.parametrize("cleared", [None, ""])
async def test_null_and_an_empty_text_clear(api: Api, cleared: str | None) -> None:
    id = await api.space(name="n", description="d", contactId="c", alias="a")
    fields = dict.fromkeys(("name", "description", "contactId", "alias"), cleared)
    await api.created(f"space/{id}/update", fields)
    space = await api.fetched(f"space/{id}/fetch")
    assert (space["name"], space["description"], space["contactId"], space["alias"]) == ("", "", None, None)


async def test_an_alias_stands_for_the_id(api: Api) -> None:
    id = await api.space(alias="docs")
    for ref in (id, "docs", "@docs"):
        assert (await api.fetched(f"space/{ref}/fetch"))["id"] == id
    assert await api.created("space/@docs/update", {"alias": "manual"}) == id
    refused(await api.get("space/docs/fetch"), 404, "NOT_FOUND")
    assert await api.created("space/manual/delete") == id


async def test_a_taken_alias_is_a_conflict(api: Api) -> None:
    await api.space(alias="docs")
    other = await api.space()
    message = refused(await api.post("space/create", {"alias": "docs"}), 409, "CONFLICT")
    assert "docs" in message
    refused(await api.post(f"space/{other}/update", {"alias": "docs"}), 409, "CONFLICT")
    assert (await api.fetched(f"space/{other}/fetch"))["alias"] is None


@one_store
@pytest.mark.parametrize("ref", ["nothing", "@nothing", "@", "Upper", "space_1", f"space_{'0' * 38}", "a b", "é"])
async def test_what_is_not_there_is_404(api: Api, ref: str) -> None:
    refused(await api.get(f"space/{ref}/fetch"), 404, "NOT_FOUND")


async def test_meta_merges(api: Api) -> None:
    id = await api.space(meta={"a": 1, "b": {"c": [True, None]}, "gone": None})
    assert (await api.fetched(f"space/{id}/fetch"))["meta"] == {"a": 1, "b": {"c": [True, None]}}
    await api.created(f"space/{id}/update", {"meta": {"a": None, "d": 1.5}})
    assert (await api.fetched(f"space/{id}/fetch"))["meta"] == {"b": {"c": [True, None]}, "d": 1.5}
    await api.created(f"space/{id}/update", {"meta": {"$update": {"b": None, "e": "é😀"}}})
    assert (await api.fetched(f"space/{id}/fetch"))["meta"] == {"d": 1.5, "e": "é😀"}
    await api.created(f"space/{id}/update", {"meta": {}})
    assert (await api.fetched(f"space/{id}/fetch"))["meta"] == {"d": 1.5, "e": "é😀"}


@one_store
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": 1}, "name"),
        ({"name": True}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"description": "x" * 4097}, "description"),
        ({"contactId": "x" * 257}, "contactId"),
        ({"contactId": {"id": 1}}, "contactId"),
        ({"contact_id": "x"}, "contact_id"),
        ({"alias": "Upper"}, "alias"),
        ({"alias": "@docs"}, "alias"),
        ({"alias": "x" * 129}, "alias"),
        ({"alias": "docs\n"}, "alias"),
        ({"id": "space_1"}, "id"),
        ({"colour": "red"}, "colour"),
        ({"meta": None}, "meta"),
        ({"meta": "x"}, "meta"),
        ({"meta": []}, "meta"),
        ({"meta": {"_private": 1}}, "meta._private"),
        ({"meta": {"key": "\0"}}, "meta.key"),
        ({"meta": {"ke\0y": 1}}, "meta.ke\0y"),
        ({"meta": {"key": {"deep": ["\0"]}}}, "meta.key"),
        ({"meta": {"key": {"\0": 1}}}, "meta.key"),
        ({"meta": {"$update": 1}}, "meta"),
        ({"meta": {"$update": {}, "more": 1}}, "meta"),
        ({"meta": {"$update": {"_private": 1}}}, "meta._private"),
        ({"meta": {"key": "x" * 16_384}}, "meta"),
    ],
)
async def test_a_bad_field_is_named_and_changes_nothing(api: Api, fields: dict[str, Any], path: str) -> None:
    id = await api.space(name="kept", meta={"kept": 1})
    before = await api.fetched(f"space/{id}/fetch")
    refused(await api.post(f"space/{id}/update", fields), 400, "BAD_REQUEST", path)
    refused(await api.post("space/create", fields), 400, "BAD_REQUEST", path)
    assert (await api.fetched("space/list"))["items"] == [before]


@one_store
async def test_a_number_beyond_a_double_is_refused(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.post("space/create", content=b'{"meta": {"a": [1e999]}}', headers=headers)
    refused(answer, 400, "BAD_REQUEST", "meta.a")


async def test_meta_is_kept_as_it_was_sent(api: Api) -> None:
    deep: Any = "bottom"
    for _ in range(190):
        deep = [deep]
    meta = {"deep": deep, "int": 10**4000, "float": 1.7e308, "small": -5e-324, "é\U0001f600": "\u2028\x7f", "": {}}
    id = await api.space(meta=meta)
    assert (await api.fetched(f"space/{id}/fetch"))["meta"] == meta
    assert len((await api.fetched("space/list?meta.int=1&meta.deep=x"))["items"]) == 0
    assert len((await api.fetched("space/list"))["items"]) == 1


async def test_several_bad_fields_are_all_named(api: Api) -> None:
    answer = await api.post("space/create", {"name": 1, "alias": "?", "more": 2})
    message = refused(answer, 400, "BAD_REQUEST", "alias", "name", "more")
    assert message == "alias: must be 1 to 128 of the characters a-z, 0-9, _ and -"
    assert answer.json()["error"]["details"][1:] == [
        {"path": "name", "message": "Input should be a valid string"},
        {"path": "more", "message": "is not a known field"},
    ]


async def test_lists_filter_by_contact_and_meta(api: Api) -> None:
    first = await api.space(contactId="c1", meta={"tier": "gold", "seats": 5, "live": True})
    second = await api.space(contactId="c2", meta={"tier": "gold", "seats": 6})
    await api.space()

    async def ids(query: str) -> list[str]:
        return [item["id"] for item in (await api.fetched(f"space/list?{query}"))["items"]]

    assert await ids("contactId=c1") == [first]
    assert await ids("meta[tier]=gold") == [second, first]
    assert await ids("meta.tier=gold&order=asc") == [first, second]
    assert await ids("meta[tier]=gold&meta.seats=5&meta[live]=true") == [first]
    assert await ids("meta%5Btier%5D=gold&contactId=c2") == [second]
    assert await ids("meta[tier]=silver") == []
    assert await ids("contactId=") == []


async def test_texts_and_meta_as_long_as_they_may_be(api: Api) -> None:
    # A store counts the JSON as it is shortest: {"key":"…"} is 10 bytes around the text.
    fields = {
        "name": "é" * 256,
        "description": "😀" * 4096,
        "contactId": "c" * 256,
        "alias": "a-_9" * 32,
        "meta": {"key": "x" * (16 * 1024 - 10)},
    }
    id = await api.created("space/create", fields)
    space = await api.fetched(f"space/{id}/fetch")
    assert {name: space[name] for name in fields} == fields
    answer = await api.post(f"space/{id}/update", {"meta": {"k": 1}})
    assert refused(answer, 400, "BAD_REQUEST", "meta") == "meta: is larger than 16384 bytes of JSON"
