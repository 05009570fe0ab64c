"""The Sites API on the wire: every row of its tables."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import httpx
import pytest

from server.control.config import ControlConfig
from server.control.widget_fields import Industry, merge
from server.control.widget_templates import templates
from storage.models import PageQuery
from tests.control.api import OTHER_WORKSPACE, Api, one_store, refused
from tests.control.conftest import Setup

EMBER: dict[str, Any] = {
    "business_name": "Ember & Oak",
    "domain": "emberandoak.com",
    "industry": "restaurant",
    "timezone": "America/Los_Angeles",
    "language": "en",
}
CONNECTION = {"type": "postgres", "host": "db.example.com", "database": "d", "user": "u", "password": "top-secret"}
TOKENS = [{"provider": "google", "access_token": "top-secret", "refresh_token": "top-secret"}]
FIELDS = {
    "id": str,
    "site_id": str,
    "business_name": str,
    "business_description": str,
    "domain": str,
    "industry": str,
    "voice": str,
    "personality": str,
    "greeting": str,
    "appearance": dict,
    "timezone": str,
    "enabled_pages": list,
    "disabled_pages": list,
    "restricted_topics": list,
    "pronunciations": list,
    "language": str,
    "created_at": str,
    "updated_at": str,
}


def data_of(answer: httpx.Response, status: int = 200) -> Any:
    """What a successful answer has in its envelope."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) <= {"success", "data", "meta"}
    assert answer.json()["success"] is True
    return answer.json()["data"]


async def create(api: Api, **fields: Any) -> Any:
    return data_of(await api.post("/v1/sites", {**EMBER, **fields}), 201)


async def patch(api: Api, ref: str, fields: Any, **extra: Any) -> httpx.Response:
    return await api.call("PATCH", f"/v1/sites/{ref}", json=fields, **extra)


async def test_a_site_from_creation_to_deletion(api: Api) -> None:
    made = await create(api)
    assert {name: type(value) for name, value in made.items()} == FIELDS
    assert {name: made[name] for name in EMBER} == EMBER
    assert 8 <= len(made["site_id"]) <= 32
    assert made["site_id"].isalnum()
    assert made["site_id"].islower() or made["site_id"].isdigit()
    for ref in (made["site_id"], made["id"]):
        assert data_of(await api.get(f"/v1/sites/{ref}")) == made
    changes = {
        "personality": "You are a friendly concierge at Ember & Oak...",
        "pronunciations": [{"word": "Ember & Oak", "say_as": "EM-ber and oak"}],
    }
    changed = data_of(await patch(api, made["site_id"], changes))
    assert changed == {**made, **changes, "updated_at": changed["updated_at"]}
    assert data_of(await api.get(f"/v1/sites/{made['id']}")) == changed
    listed = await api.get("/v1/sites")
    assert data_of(listed) == [changed]
    assert listed.json()["meta"] == {"total": 1, "limit": 25, "offset": 0}
    gone = await api.call("DELETE", f"/v1/sites/{made['site_id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert "content-type" not in gone.headers
    for ref in (made["site_id"], made["id"]):
        refused(await api.get(f"/v1/sites/{ref}"), 404, "NOT_FOUND")
        refused(await patch(api, ref, {}), 404, "NOT_FOUND")
        refused(await api.call("DELETE", f"/v1/sites/{ref}"), 404, "NOT_FOUND")
        refused(await api.post(f"/v1/sites/{ref}/test-connection"), 404, "NOT_FOUND")
    assert (await api.get("/v1/sites")).json()["meta"]["total"] == 0
    audited = await api.fetched("audit/list?kind=widget&order=asc")
    assert [entry["action"] for entry in audited["items"]] == ["widget.create", "widget.update", "widget.delete"]
    assert audited["items"][1]["after"] == changes


async def test_sites_are_listed_searched_and_paged(api: Api) -> None:
    for number in range(5):
        await create(api, domain=f"{number}.example.com", business_name=f"Shop {number}")
    await create(api, domain="münchen.example.com", business_name="CAFÉ Grün")

    async def names(query: str) -> tuple[list[str], dict[str, int]]:
        answer = await api.get(f"/v1/sites?{query}")
        return [item["business_name"] for item in data_of(answer)], answer.json()["meta"]

    everything = ["CAFÉ Grün", *(f"Shop {number}" for number in range(4, -1, -1))]
    assert await names("") == (everything, {"total": 6, "limit": 25, "offset": 0})
    assert await names("limit=2&offset=3") == (everything[3:5], {"total": 6, "limit": 2, "offset": 3})
    assert await names("offset=6") == ([], {"total": 6, "limit": 25, "offset": 6})
    assert await names("q=caf%C3%A9") == (everything[:1], {"total": 1, "limit": 25, "offset": 0})
    assert (await names("q=SHOP&limit=1"))[1] == {"total": 5, "limit": 1, "offset": 0}
    assert (await names("q=3.example"))[0] == ["Shop 3"]
    assert (await names("q=nothing"))[1]["total"] == 0
    for query in ("limit=0", "limit=101", "limit=x", "offset=-1", f"q={'x' * 300}"):
        refused(await api.get(f"/v1/sites?{query}"), 400, "BAD_REQUEST", query.partition("=")[0])


@one_store
@pytest.mark.parametrize("industry", get_args(Industry))
async def test_an_industry_has_a_template(api: Api, industry: Industry) -> None:
    fields = {"business_name": "B", "domain": "b.example.com", "industry": industry}
    made = data_of(await api.post("/v1/sites", fields), 201)
    shown = {name: value for name, value in made.items() if name in templates()[industry]}
    assert shown == templates()[industry]
    assert made["personality"]


def test_templates_differ() -> None:
    for field in ("personality", "appearance"):
        assert len({str(template[field]) for template in templates().values()}) == len(get_args(Industry))
    assert len({template["voice"] for template in templates().values()}) == 6


@one_store
async def test_an_industry_need_not_be_named(api: Api) -> None:
    made = data_of(await api.post("/v1/sites", {"business_name": "B", "domain": "b.example.com"}), 201)
    assert (made["industry"], made["timezone"], made["language"]) == ("custom", "UTC", "en")
    assert "greeting" not in made


BAD: list[tuple[dict[str, Any], str]] = [
    ({"business_name": None}, "business_name"),
    ({"business_name": " "}, "business_name"),
    ({"business_name": "x" * 257}, "business_name"),
    ({"business_name": 5}, "business_name"),
    ({"business_name": "a\0"}, "business_name"),
    ({"domain": "https://example.com"}, "domain"),
    ({"domain": "example.com:8080"}, "domain"),
    ({"domain": "192.0.2.1"}, "domain"),
    ({"domain": "co.uk"}, "domain"),
    ({"domain": ""}, "domain"),
    ({"industry": "bakery"}, "industry"),
    ({"industry": None}, "industry"),
    ({"voice": "siri"}, "voice"),
    ({"personality": "x" * 8193}, "personality"),
    ({"greeting": ["hello"]}, "greeting"),
    ({"appearance": {"color": "blue"}}, "appearance.color"),
    ({"appearance": {"color": "#12345"}}, "appearance.color"),
    ({"appearance": {"position": "top-left"}}, "appearance.position"),
    ({"appearance": {"size": "huge"}}, "appearance.size"),
    ({"appearance": {"edge_glow": "yes"}}, "appearance.edge_glow"),
    ({"appearance": {"shadow": True}}, "appearance.shadow"),
    ({"appearance": "blue"}, "appearance"),
    ({"timezone": "America/Springfield"}, "timezone"),
    ({"timezone": "../etc/passwd"}, "timezone"),
    ({"timezone": "Factory"}, "timezone"),
    ({"enabled_pages": ["blog/*"]}, "enabled_pages.0"),
    ({"disabled_pages": ["/ok", "!x"]}, "disabled_pages.1"),
    ({"disabled_pages": ["/a b"]}, "disabled_pages.0"),
    ({"disabled_pages": ["/a?b"]}, "disabled_pages.0"),
    ({"enabled_pages": ["/"] * 101}, "enabled_pages"),
    ({"enabled_pages": "/"}, "enabled_pages"),
    ({"restricted_topics": [""]}, "restricted_topics.0"),
    ({"pronunciations": [{"word": "x"}]}, "pronunciations.0.say_as"),
    ({"pronunciations": [{"word": "x", "say_as": "y", "z": 1}]}, "pronunciations.0.z"),
    ({"custom_instructions": 1}, "custom_instructions"),
    ({"language": "english language"}, "language"),
    ({"language": "e"}, "language"),
    ({"nonsense": 1}, "nonsense"),
    ({"businessName": "x"}, "businessName"),
    ({"data_connection": {**CONNECTION, "type": "mysql"}}, "data_connection.type"),
    ({"data_connection": {**CONNECTION, "host": "/var/run"}}, "data_connection.host"),
    ({"data_connection": {**CONNECTION, "host": "a b"}}, "data_connection.host"),
    ({"data_connection": {**CONNECTION, "port": 0}}, "data_connection.port"),
    ({"data_connection": {**CONNECTION, "sslmode": "maybe"}}, "data_connection.sslmode"),
    ({"data_connection": {"type": "postgres", "host": "x", "user": "u"}}, "data_connection.database"),
    ({"oauth_connections": [{"provider": "github", "access_token": "x"}]}, "oauth_connections.0.provider"),
    ({"oauth_connections": [{"provider": "google", "access_token": "é"}]}, "oauth_connections.0.access_token"),
    ({"oauth_connections": [{"provider": "shopify", "access_token": "x"}]}, "oauth_connections.0"),
    (
        {"oauth_connections": [{"provider": "shopify", "access_token": "x", "shop": "a.example.com"}]},
        "oauth_connections.0.shop",
    ),
]


@one_store
async def test_what_fails_validation_is_named(api: Api) -> None:
    made = await create(api, site_id="another1", domain="another.example")
    for fields, path in BAD:
        refused(await api.post("/v1/sites", {**EMBER, **fields}), 400, "BAD_REQUEST", path)
        message = refused(await patch(api, "another1", fields), 400, "BAD_REQUEST", path)
        assert "top-secret" not in message
    for site_id in ("short", "UPPERCASE", "with-dash", "x" * 33, ""):
        refused(await api.post("/v1/sites", {**EMBER, "site_id": site_id}), 400, "BAD_REQUEST", "site_id")
    refused(await api.post("/v1/sites", {}), 400, "BAD_REQUEST", "business_name", "domain")
    large = [{name: ["/" + "x" * 255] * 100} for name in ("restricted_topics", "enabled_pages", "disabled_pages")]
    made = [data_of(await patch(api, "another1", fields)) for fields in large[:2]][-1]
    refused(await patch(api, "another1", large[2]), 400, "BAD_REQUEST", "body")
    assert data_of(await api.get("/v1/sites")) == [made]


@one_store
async def test_what_is_taken_is_kept_in_one_spelling(api: Api) -> None:
    made = await create(
        api,
        site_id="0123456789abcdef0123456789abcdef",
        domain="*.Bücher.Example.com.",
        language="ZH-hant-tw-x-Ab",
        timezone="Europe/Berlin",
        appearance={"color": "#ABC"},
        enabled_pages=["/", "*.html", "!/blog/ü*"],
        custom_instructions="Be brief.",
    )
    assert made["site_id"] == "0123456789abcdef0123456789abcdef"
    assert made["domain"] == "*.xn--bcher-kva.example.com"
    assert made["language"] == "zh-Hant-TW-x-ab"
    assert made["appearance"] == {**templates()["restaurant"]["appearance"], "color": "#aabbcc"}
    assert made["enabled_pages"] == ["/", "*.html", "!/blog/ü*"]
    assert made["custom_instructions"] == "Be brief."


@one_store
async def test_an_update_is_a_merge_patch(api: Api) -> None:
    made = await create(api, greeting="Hi", custom_instructions="Be brief.", business_description="Oak, mostly")
    ref, template = made["site_id"], templates()["restaurant"]
    assert data_of(await patch(api, ref, {}))["personality"] == made["personality"]
    merged = data_of(await patch(api, ref, {"appearance": {"size": "small", "edge_glow": False}}))
    assert merged["appearance"] == {**template["appearance"], "size": "small", "edge_glow": False}
    reset = data_of(await patch(api, ref, {"appearance": {"size": None}, "greeting": None, "timezone": None}))
    assert reset["appearance"] == {**template["appearance"], "edge_glow": False}
    assert (reset["greeting"], reset["timezone"]) == (template["greeting"], "UTC")
    patched = {"industry": "custom", "greeting": None, "custom_instructions": None, "business_description": None}
    moved = data_of(await patch(api, ref, {**patched, "enabled_pages": ["/x"]}))
    assert "greeting" not in moved
    assert "custom_instructions" not in moved
    assert (moved["business_description"], moved["enabled_pages"]) == ("", ["/x"])
    assert moved["personality"] == made["personality"]
    merge_patch = {"Content-Type": "application/merge-patch+json"}  # RFC 7396 §4
    answer = await api.call("PATCH", f"/v1/sites/{ref}", content=b'{"voice": "echo"}', headers=merge_patch)
    assert data_of(answer)["voice"] == "echo"
    refused(await api.post("/v1/sites", content=b"{}", headers=merge_patch), 415, "UNSUPPORTED_MEDIA_TYPE")
    for name in ("site_id", "id", "created_at"):
        message = refused(await patch(api, ref, {name: made[name]}), 400, "BAD_REQUEST", "body")
        assert f"{name} never changes" in message
    refused(await patch(api, ref, []), 400, "BAD_REQUEST", "body")


def test_merging() -> None:
    """RFC 7396, Appendix A, with a template where it says null."""
    assert merge({"a": "b"}, {"a": "c"}, {}) == {"a": "c"}
    assert merge({"a": "b"}, {"b": "c"}, {}) == {"a": "b", "b": "c"}
    assert merge({"a": "b", "b": "c"}, {"a": None}, {}) == {"b": "c"}
    assert merge({"a": ["b"]}, {"a": "c"}, {}) == {"a": "c"}
    assert merge({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {}) == {"a": {"b": "d"}}
    assert merge({"a": "b"}, {"a": None}, {"a": "t"}) == {"a": "t"}
    assert merge({}, {"a": {"b": None, "c": 1}}, {"a": {"b": "t"}}) == {"a": {"b": "t", "c": 1}}


async def test_what_somebody_has_already(api: Api) -> None:
    theirs = await api.key(workspace=OTHER_WORKSPACE)
    await create(api, site_id="claimed00")
    message = refused(
        await api.post("/v1/sites", {**EMBER, "site_id": "claimed00", "domain": "b.example"}, key=theirs),
        409,
        "site_id_taken",
    )
    assert "try another" in message
    message = refused(await api.post("/v1/sites", EMBER), 409, "domain_taken")
    assert message == "You already have a site on emberandoak.com"
    second = await create(api, domain="second.example")
    refused(await patch(api, second["id"], {"domain": "EmberAndOak.com"}), 409, "domain_taken")
    # Another workspace may have one on the same domain.
    data_of(await api.post("/v1/sites", EMBER, key=theirs), 201)
    # A name is never given twice, as pages may still use it.
    assert (await api.call("DELETE", "/v1/sites/claimed00")).status_code == 204
    refused(await api.post("/v1/sites", {**EMBER, "site_id": "claimed00"}), 409, "site_id_taken")
    await create(api)


async def test_the_plans_limit(api: Api) -> None:
    await api.created("workspace/workspace_default/update", {"maxWidgets": 2})
    answers = await asyncio.gather(
        *(api.post("/v1/sites", {**EMBER, "domain": f"{number}.example.com"}) for number in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 201, 403, 403]
    message = refused(await api.post("/v1/sites", EMBER), 403, "plan_limit_reached")
    assert message == "Your plan's limit of 2 sites is reached: upgrade, or delete an existing site"
    usage = (await api.fetched("workspace/workspace_default/fetch"))["usage"]
    assert usage["widgets"] == 2


@one_store
async def test_keys_of_the_sites_api(api: Api) -> None:
    async def key(*scopes: str) -> str:
        answer = await api.post("key/create", {"name": "site", "scopes": scopes, "dialect": "sites"})
        secret: str = answer.json()["secret"]
        assert secret.startswith("vk_live_")
        return secret

    reader, writer = await key("sites:read"), await key("sites:write")
    made = data_of(await api.post("/v1/sites", EMBER, key=writer), 201)
    path = f"/v1/sites/{made['site_id']}"
    assert data_of(await api.get(path, key=reader)) == made
    refused(await api.get(path, key=writer), 403, "NOT_AUTHORIZED")
    for refusal in (await patch(api, made["id"], {}, key=reader), await api.call("DELETE", path, key=reader)):
        assert "sites:write" in refused(refusal, 403, "NOT_AUTHORIZED")
    refused(await api.post(f"{path}/test-connection", key=reader), 403, "NOT_AUTHORIZED")
    refused(await api.post("space/create", key=writer), 403, "NOT_AUTHORIZED")
    refused(await api.get("space/space/site/list", key=reader), 403, "NOT_AUTHORIZED")
    wrong = {"name": "site", "scopes": ["sites:read", "spaces:read"], "dialect": "sites"}
    refused(await api.post("key/create", wrong), 400, "BAD_REQUEST", "scopes")


@one_store
async def test_who_is_let_in(api: Api) -> None:
    missing = await api.http.get("/v1/sites")
    assert refused(missing, 401, "NOT_AUTHENTICATED").endswith("Authorization: Bearer vk_live_…")
    assert missing.headers["www-authenticate"] == "Bearer"
    refused(await api.get("/v1/sites", key="vk_live_wrong"), 401, "NOT_AUTHENTICATED")


async def test_another_workspaces_site_is_not_there(api: Api) -> None:
    made = await create(api)
    theirs = await api.key(workspace=OTHER_WORKSPACE)
    nowhere = await api.get("/v1/sites/nothing00", key=theirs)
    for ref in (made["id"], made["site_id"]):
        answer = await api.get(f"/v1/sites/{ref}", key=theirs)
        assert answer.text.replace(ref, "nothing00") == nowhere.text
        refused(await patch(api, ref, {"voice": "echo"}, key=theirs), 404, "NOT_FOUND")
        refused(await api.call("DELETE", f"/v1/sites/{ref}", key=theirs), 404, "NOT_FOUND")
    assert data_of(await api.get("/v1/sites", key=theirs)) == []
    assert data_of(await api.get(f"/v1/sites/{made['id']}")) == made


@one_store
async def test_refusals_have_the_envelope(api: Api) -> None:
    for path in ("/v1", "/v1/", "/v1/site", "/v1/sites/", "/v1/sites/a/b/c"):
        refused(await api.get(path), 404, "NOT_FOUND")
    for method, path, allowed in (
        ("PUT", "/v1/sites", "GET, POST"),
        ("DELETE", "/v1/sites", "GET, POST"),
        ("POST", "/v1/sites/x", "DELETE, GET, PATCH"),
        ("GET", "/v1/sites/x/test-connection", "POST"),
    ):
        answer = await api.call(method, path)
        refused(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == allowed
    json = {"Content-Type": "application/json"}
    for content in (b"{", b"[1]", b"\xff", b'{"business_name": "\\ud800"}'):
        refused(await api.post("/v1/sites", content=content, headers=json), 400, "BAD_REQUEST", "body")
    refused(await api.post("/v1/sites", content=b'"' + b"x" * 50_000, headers=json), 413, "PAYLOAD_TOO_LARGE")
    refused(await api.post("/v1/sites", content=b"{}"), 415, "UNSUPPORTED_MEDIA_TYPE")
    for ref in ("x", "UPPERCASE", "widget_1", "a" * 500, "%E2%82%AC", "..%2fspace"):
        answer = await api.get(f"/v1/sites/{ref}")
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"]["code"] == "not_found"


@pytest.fixture
def slow_down(setup: Setup) -> None:
    setup.config = ControlConfig(
        root_key_hash=setup.config.root_key_hash, requests_per_minute=3, clock=setup.config.clock
    )


@one_store
@pytest.mark.usefixtures("slow_down")
async def test_too_many_calls(api: Api) -> None:
    for _ in range(3):
        data_of(await api.get("/v1/sites"))
    answer = await api.get("/v1/sites")
    refused(answer, 429, "TOO_MANY_REQUESTS")
    assert answer.headers["retry-after"] == "60"
    assert answer.json()["error"]["code"] == "rate_limited"


@one_store
async def test_too_many_calls_of_a_workspace(api: Api) -> None:
    key = await api.key(workspace=OTHER_WORKSPACE)
    await api.metadata.update_workspace(OTHER_WORKSPACE, {"requests_per_minute": 1})
    await api.get("/v1/sites", key=key)
    refused(await api.get("/v1/sites", key=key), 429, "LIMITS_REACHED")


async def test_credentials_are_written_and_never_read(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    made = await create(api, data_connection=CONNECTION, oauth_connections=TOKENS)
    answers = [
        await api.get(f"/v1/sites/{made['id']}"),
        await api.get("/v1/sites"),
        await patch(api, made["id"], {"data_connection": CONNECTION}),
        await patch(api, made["id"], {"data_connection": {**CONNECTION, "port": "top-secret"}}),
        await api.get("audit/list"),
    ]
    assert "credentials_changed" in answers[-1].text
    secret = await api.metadata.find_secret(made["id"], "data_connection")
    tokens = await api.metadata.find_secret(made["id"], "oauth_connections")
    assert secret is not None
    assert tokens is not None
    for text in [*(answer.text for answer in answers), str(made), secret.sealed, tokens.sealed, *capfd.readouterr()]:
        assert "top-secret" not in text
        assert "db.example.com" not in text
    data_of(await patch(api, made["id"], {"data_connection": None, "oauth_connections": []}))
    for kind in ("data_connection", "oauth_connections"):
        assert await api.metadata.find_secret(made["id"], kind) is None


async def test_deletion_leaves_tokens_to_be_revoked_and_nothing_else(api: Api) -> None:
    made = await create(api, data_connection=CONNECTION, oauth_connections=TOKENS)
    await api.metadata.add_session(made["site_id"], "/menu", "Hello")
    assert (await api.call("DELETE", f"/v1/sites/{made['id']}")).status_code == 204
    assert await api.metadata.find_widget(made["site_id"]) is None
    assert await api.metadata.find_secret(made["id"], "data_connection") is None
    assert await api.metadata.find_secret(made["id"], "oauth_connections") is not None
    assert len(await api.metadata.list_purges(2**53, 10)) == 1
    assert len((await api.metadata.list_sessions(made["id"], PageQuery())).items) == 1


@one_store
async def test_a_call_may_be_repeated(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.post("/v1/sites", EMBER, headers=headers)
    again = await api.post("/v1/sites", EMBER, headers=headers)
    assert data_of(first, 201) == data_of(again, 201)
    assert again.headers["idempotency-replayed"] == "true"
    other = {**EMBER, "domain": "b.example"}
    refused(await api.post("/v1/sites", other, headers=headers), 409, "CONFLICT")


@one_store
async def test_calls_are_counted_by_their_route(api: Api) -> None:
    made = await create(api)
    await api.get(f"/v1/sites/{made['id']}")
    assert 'route="/v1/sites/{ref}"' in (await api.get("/metrics")).text
