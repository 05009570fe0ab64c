"""What is settled before a site's files are looked at; all the rest the edge's own tests and the corpus show."""

from __future__ import annotations

import pytest

from server.edge.decision import answer_to_method, host_of
from server.edge.request import Refusal, Request
from server.edge.response import NOT_ALLOWED, OPTIONS, refusal_page


def asked(authority: str | None, path: str = "/", server_name: str | None = None) -> Request:
    return Request(method="GET", authority=authority, path=path, server_name=server_name)


def test_a_request_names_one_host_or_none() -> None:
    assert host_of(asked("A.test:80")) == "a.test"
    assert host_of(asked("a.test", server_name="a.test")) == "a.test"
    assert host_of(asked(None)) is None
    assert host_of(asked("a.test", "*")) is None


@pytest.mark.parametrize(("authority", "server_name", "status"), [("a..test", None, 400), ("a.test", "b.test", 421)])
def test_hosts_that_are_refused(authority: str, server_name: str | None, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        host_of(asked(authority, server_name=server_name))
    assert refused.value.status == status
    page = refusal_page(refused.value)
    assert page.status == status
    assert refused.value.detail.encode() in page.body


def test_what_methods_get() -> None:
    assert answer_to_method("GET") is answer_to_method("HEAD") is None
    assert answer_to_method("OPTIONS") is OPTIONS
    assert answer_to_method("PUT") is answer_to_method("get") is NOT_ALLOWED
