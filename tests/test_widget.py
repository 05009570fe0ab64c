"""The widget on every worker of a real server: configured by the Sites API, delivered by the edge."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.process import Serve
from tests.support.wire import Answer, Wire
from tests.test_deletion import connect_to_each_worker

ASK = b"%b /v1/%b/%b HTTP/1.1\r\nHost: widget.localhost\r\nOrigin: https://ember.example\r\nContent-Length: 0\r\n\r\n"
PAGE = b"<!doctype html><body>page</body>"


def ask(wire: Wire, site_id: str, what: bytes = b"config", method: bytes = b"GET") -> Answer:
    wire.send(ASK % (method, site_id.encode(), what))
    return wire.receive()


@pytest.mark.slow
def test_every_worker_shows_what_is_configured_now(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "2") as serve, ExitStack() as stack:
        serve.site("a.localhost", {"a.txt": b"0123456789"})
        wires = [stack.enter_context(wire) for wire in connect_to_each_worker(serve, b"a.localhost")]
        new = {"business_name": "Ember & Oak", "domain": "ember.example", "industry": "restaurant"}
        answer = serve.api.post("/v1/sites", json={**new, "timezone": "UTC", "language": "en"})
        assert answer.status_code == 201, answer.text
        site_id = answer.json()["data"]["site_id"]
        for greeting in ("Hello", "Good evening"):
            changed = serve.api.patch(f"/v1/sites/{site_id}", json={"greeting": greeting})
            assert changed.status_code == 200, changed.text
            for wire in wires * 3:
                shown = ask(wire, site_id)
                assert shown.status == 200
                assert json.loads(shown.body)["greeting"] == greeting
                assert shown.header("access-control-allow-origin") == "https://ember.example"
        assert {ask(wire, site_id, b"sessions?page=/menu", b"POST").status for wire in wires} == {204}
        # A page of the platform, with the tag of the same workspace's widget.
        space, site = serve.site("b.localhost", {"index.html": PAGE})
        serve.post(f"space/{space}/site/{site}/update", {"meta": {"widget": True}})
        assert serve.api.patch(f"/v1/sites/{site_id}", json={"domain": "b.localhost"}).status_code == 200
        tagged = serve.get("b.localhost").body
        assert f'data-site-id="{site_id}"'.encode() in tagged
        assert f'src="//widget.localhost:{serve.edge_port}/widget.js"'.encode() in tagged
        assert serve.api.delete(f"/v1/sites/{site_id}").status_code == 204
        assert {ask(wire, site_id).status for wire in wires} == {404}
        assert serve.get("b.localhost").body == PAGE
