"""Who has served which site."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from server.edge import visits
from server.edge.edge import Edge
from server.edge.visits import Visits, unnoted
from server.node import LoneNode
from storage.errors import Unavailable
from storage.memory import MemoryBlobs, MemoryMetadata
from storage.models import Change, HostedSite
from tests.support.hosting import memory_hosting
from tests.support.sites import hosted


class Connection:
    def __init__(self) -> None:
        self.told: list[Collection[str]] = []

    def site_gone(self, domains: Collection[str]) -> None:
        self.told.append(domains)


def site(domain: str, site_id: str = "site_1") -> HostedSite:
    return hosted(domain=domain, id=site_id)


def test_only_those_are_told_who_have_been_there() -> None:
    noted, a, both, neither = Visits(), Connection(), Connection(), Connection()
    assert not noted
    for connection, domain in ((a, "a.test"), (a, "a.test"), (both, "a.test"), (both, "b.test"), (neither, "c.test")):
        noted.add(site(domain), connection)
    noted.free(["a.test", "unknown.test"])
    assert a.told == both.told == [["a.test", "unknown.test"]]
    assert neither.told == []
    assert sorted(noted.sites()) == [("a.test", "site_1"), ("b.test", "site_1"), ("c.test", "site_1")]


def test_who_has_left_is_forgotten() -> None:
    noted, a, b = Visits(), Connection(), Connection()
    noted.add(site("a.test"), a)
    noted.add(site("a.test"), b)
    noted.remove(a)
    noted.remove(a)
    noted.free(["a.test"])
    assert (a.told, b.told) == ([], [["a.test"]])
    noted.remove(b)
    assert list(noted.sites()) == []
    assert not noted


def test_who_has_been_everywhere_is_told_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "MAX_SITES", 3)
    noted, proxy = Visits(), Connection()
    for number in range(6):
        noted.add(site(f"{number}.test"), proxy)
    assert list(noted.sites()) == []
    noted.free(["other.test"])
    assert proxy.told == [["other.test"]]
    noted.remove(proxy)
    assert not noted


def test_nobody() -> None:
    unnoted(site("a.test"))


@pytest.mark.parametrize(
    ("kind", "hosts", "freed"),
    [
        ("site.delete", ("a",), ("a",)),
        ("space.delete", ("a", "b"), ("a", "b")),
        ("space.delete", (), ()),
        ("site.update", ("a", "b"), ()),
        ("site.update", ("a",), ()),
        ("site.create", ("a",), ()),
        ("files.put", (), ()),
    ],
)
def test_changes_that_free_domains(kind: str, hosts: tuple[str, ...], freed: tuple[str, ...]) -> None:
    assert Change(revision=1, kind=kind, hosts=hosts).freed == freed


class Flaky(MemoryMetadata):
    """The shipped fake, whose look-up of one domain fails."""

    async def find_site(self, domains: Sequence[str]) -> HostedSite | None:
        if "away.test" in domains:
            raise Unavailable("away")
        return await super().find_site(domains)


async def test_where_the_log_was_not_read_sites_are_looked_up() -> None:
    async with memory_hosting() as hosting:
        for domain in ("stays.test", "goes.test", "other.test"):
            await hosting.site(domain, {"index.html": b"x"})
        edge, connections = hosting.edge, {}
        for domain in ("stays.test", "goes.test", "other.test"):
            found = await hosting.metadata.find_site([domain])
            assert found
            connections[domain] = Connection()
            edge.visits.add(found, connections[domain])
        goes = await hosting.metadata.find_site(["goes.test"])
        other = await hosting.metadata.find_site(["other.test"])
        assert goes
        assert other
        await hosting.metadata.delete_site(goes.id)
        await hosting.metadata.delete_site(other.id)
        await hosting.site("other.test", {"index.html": b"another's"})
        await edge.follower.poll()  # its first, which reads no log
        for _ in range(100):
            await asyncio.sleep(0)
        assert connections["stays.test"].told == []
        assert connections["goes.test"].told == connections["other.test"].told == [["goes.test", "other.test"]]


async def test_what_cannot_be_looked_up_is_taken_for_gone() -> None:
    edge = Edge(Flaky(), MemoryBlobs(), LoneNode(), cache_bytes=1000)
    connection = Connection()
    edge.visits.add(site("away.test"), connection)
    await edge.follower.poll()
    for _ in range(100):
        await asyncio.sleep(0)
    assert connection.told == [["away.test"]]
