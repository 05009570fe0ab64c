"""What the fast door answers by itself, and that it is what the site is now."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import permutations

import pytest

from server.doors.answers import MAX_LINES_BYTES
from server.doors.fast import FastProtocol
from server.doors.journal import MAX_NOTES, Journal, Tally
from server.doors.tables import SMALL_BODY_BYTES
from server.edge import library as library_module
from server.edge.library import MISSES_BEFORE_INDEX
from server.edge.request import MAX_TARGET_BYTES
from storage.models import SitePatch
from tests.support.connections import protocols
from tests.support.hosting import NOW, Hosting, memory_hosting, served

BROWSER = "User-Agent: Mozilla/5.0\r\nAccept: text/html\r\nAccept-Encoding: gzip, br\r\nConnection: keep-alive\r\n"
FILES = {
    "index.html": b"home",
    "page.html": b"page",
    "large.js": b"y" * (SMALL_BODY_BYTES + 1),
    "docs/index.html": b"docs",
    "404.html": b"lost",
    "docs/404.html": b"lost in the docs",
}


class Client:
    """A connection on which everything that is asked for is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def get(
        self, target: str, *lines: str, host: str = "a.test", method: str = "GET"
    ) -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        extra = "".join(f"{line}\r\n" for line in lines)
        self.writer.write(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{BROWSER}{extra}\r\n".encode())
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> tuple[int, bytes, bytes]:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split()[1])
            bodiless = method == "HEAD" or status in (204, 304)
            length = 0 if bodiless else int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            return status, head, await self.reader.readexactly(length)


def fast_protocols() -> list[FastProtocol]:
    return [protocol for protocol in protocols() if isinstance(protocol, FastProtocol)]


@asynccontextmanager
async def connected(cache_bytes: int = 16 * 1024 * 1024) -> AsyncIterator[tuple[Hosting, Client]]:
    async with memory_hosting(cache_bytes) as hosting:
        await hosting.site("a.test", FILES)
        async with served(hosting.edge) as port:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            try:
                yield hosting, client
            finally:
                client.writer.transport.abort()


async def test_only_the_first_of_many_takes_a_task(slowly: list[bytes], read: list[bytes]) -> None:
    async with connected() as (_, client):
        for _ in range(5):
            assert (await client.get("/"))[::2] == (200, b"home")
            assert (await client.get("/large.js"))[::2] == (200, FILES["large.js"])
            assert (await client.get("/docs"))[0] == 308
        assert slowly == [b"/", b"/large.js", b"/docs"]
        # Once more each is read in full; then its bytes are known.
        assert read == [b"/", b"/large.js", b"/docs"] * 2


async def test_a_query_that_does_not_matter_is_no_reason(slowly: list[bytes], read: list[bytes]) -> None:
    async with connected() as (_, client):
        for _ in range(3):
            await client.get("/page")
            await client.get("/docs")
        del slowly[:], read[:]
        for number in range(5):
            assert (await client.get(f"/page?v={number}"))[::2] == (200, b"page")
        assert (slowly, read) == ([], [])
        status, head, _ = await client.get("/docs?v=1")
        assert (status, b"location: /docs/?v=1\r\n" in head) == (308, True)
        assert read == [b"/docs?v=1"]


@pytest.mark.parametrize("target", ["/page", "/page?q", "/nowhere"])
async def test_a_line_of_another_version_is_not_taken_for_ours(target: str) -> None:
    async with connected() as (_, client):
        for _ in range(3):
            await client.get("/page")
            await client.get("/nowhere")
        client.writer.write(f"GET {target} HTTP/2.0\r\nHost: a.test\r\n{BROWSER}\r\n".encode())
        assert (await client.answer())[0] == 505


async def test_validators_of_the_answer_get_its_304(slowly: list[bytes], read: list[bytes]) -> None:
    async with connected() as (_, client):
        for _ in range(2):
            _, head, _ = await client.get("/page")
        etag = head.split(b"etag: ")[1].split(b"\r\n")[0].decode()
        del slowly[:], read[:]
        for target in ("/page", "/page?q"):
            for since in ("", "If-Modified-Since: Mon, 21 Sep 2026 14:13:20 GMT"):
                lines = [f"If-None-Match: {etag}", *([since] if since else [])]
                status, head, _ = await client.get(target, *lines)
                assert (status, f"etag: {etag}\r\n".encode() in head) == (304, True)
        assert read == []
        assert (await client.get("/page", 'If-None-Match: "other"'))[::2] == (200, b"page")
        assert (await client.get("/page", f'If-None-Match: "other", W/{etag}'))[0] == 304
        assert (await client.get("/page", "If-Modified-Since: Mon, 21 Sep 2026 14:13:20 GMT"))[0] == 304
        assert (await client.get("/page", "Range: bytes=1-2"))[::2] == (206, b"ag")
        assert (await client.get("/page", method="HEAD"))[0] == 200
        assert slowly == []


async def test_what_is_missing_is_known_after_a_while(slowly: list[bytes], read: list[bytes]) -> None:
    async with connected() as (hosting, client):
        for number in range(MISSES_BEFORE_INDEX):
            assert (await client.get(f"/none/{number}"))[::2] == (404, b"lost")
        await asyncio.gather(*hosting.edge._library._indexing)
        assert (await client.get("/docs/none"))[::2] == (404, b"lost in the docs")
        await client.get("/docs/none")  # its page has been read now
        del slowly[:], read[:]
        for number in range(5):
            assert (await client.get(f"/other/{number}?q"))[::2] == (404, b"lost")
            assert (await client.get(f"/docs/x/{number}"))[::2] == (404, b"lost in the docs")
        assert (slowly, read) == ([], [])
        for target in ("/.env", "//none", "/%6eone", "/none/../x"):
            assert (await client.get(target))[0] in (400, 404)
        # A page that comes is there at once.
        await hosting.publish("a.test", {"other/1.html": b"here now"})
        assert (await client.get("/other/1"))[::2] == (200, b"here now")
        assert (await client.get("/other/2"))[::2] == (404, b"lost")


async def test_a_site_without_an_error_page_shows_ours(slowly: list[bytes]) -> None:
    async with connected() as (hosting, client):
        await hosting.site("bare.test", {"index.html": b"bare"})
        for number in range(MISSES_BEFORE_INDEX):
            await client.get(f"/none/{number}", host="bare.test")
        await asyncio.gather(*hosting.edge._library._indexing)
        del slowly[:]
        status, head, body = await client.get("/none", host="bare.test")
        assert (status, b"cache-control: no-store" in head) == (404, True)
        assert b"nothing at this address" in body
        assert slowly == []


async def test_rules_decide_about_what_is_missing(slowly: list[bytes]) -> None:
    async with connected() as (hosting, client):
        rules = {"_redirects": b"/old/* /page 302\n", "_headers": b"/none/*\n  X-Seen: yes\n"}
        await hosting.publish("a.test", rules)
        for number in range(MISSES_BEFORE_INDEX):
            await client.get(f"/none/{number}")
        await asyncio.gather(*hosting.edge._library._indexing)
        del slowly[:]
        status, head, body = await client.get("/none/1")
        assert (status, body, b"x-seen: yes" in head.lower()) == (404, b"lost", True)
        assert slowly == []
        assert (await client.get("/old/x"))[0] == 302
        assert slowly == [b"/old/x"]


async def test_targets_that_are_too_long_are_refused_by_this_door_too(slowly: list[bytes]) -> None:
    for target, usual in (("/page?", 200), ("/none/", 404)):
        async with connected() as (hosting, client):
            for number in range(MISSES_BEFORE_INDEX):
                await client.get(f"/none/{number}")
            await asyncio.gather(*hosting.edge._library._indexing)
            for _ in range(3):
                await client.get("/page")
            del slowly[:]
            assert (await client.get(target.ljust(MAX_TARGET_BYTES, "x")))[0] == usual
            assert slowly == []
            status, head, _ = await client.get(target.ljust(MAX_TARGET_BYTES + 1, "x"))
            assert (status, b"connection: close" in head) == (414, True)


async def test_a_head_is_answered_when_all_of_it_is_there(slowly: list[bytes]) -> None:
    """Also where the lines were so many that they are not kept."""
    async with connected() as (_, client):
        cookie = f"Cookie: {'x' * MAX_LINES_BYTES}"
        for _ in range(3):
            assert (await client.get("/page", cookie))[2] == b"page"
        request = f"GET /page HTTP/1.1\r\nHost: a.test\r\n{BROWSER}{cookie}\r\n\r\n".encode()
        for end in (request.find(b"\n"), request.find(b"\n") + 1, len(request) - 2, len(request) - 1):
            client.writer.write(request[:end])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await client.reader.read(1)
            client.writer.write(request[end:])
            assert (await client.answer())[::2] == (200, b"page")
        assert slowly == [b"/page"]


async def test_each_change_is_seen_by_the_next_request() -> None:
    async with connected() as (hosting, client):
        for number in range(20):
            await hosting.publish("a.test", {"page.html": b"%d" % number})
            for _ in range(3):
                assert (await client.get("/page"))[2] == b"%d" % number
        site = await hosting.metadata.find_site(["a.test"])
        assert site is not None
        await hosting.metadata.update_site(site.id, SitePatch(domain="b.test"))
        assert (await client.get("/page"))[0] == 404
        assert (await client.get("/page", host="b.test"))[2] == b"19"
        await hosting.metadata.delete_site(site.id)
        assert (await client.get("/page", host="b.test"))[0] == 404
        assert await client.reader.read() == b""


async def test_heads_that_take_turns_are_told_apart() -> None:
    """On one connection, as a proxy's may be, and on others, where the same browser asks."""
    async with connected() as (hosting, client):
        site = await hosting.site("b.test", {"index.html": b"b"})
        address = client.writer.get_extra_info("peername")
        others = [Client(*await asyncio.open_connection(*address)) for _ in range(2)]
        expected: dict[str, tuple[int, bytes] | None] = {"a.test": (200, b"home"), "b.test": (200, b"b")}
        expected["none.test"] = None

        async def ask_all() -> None:
            for peer in (client, *others):
                for language in ("en", "fr"):
                    for host, answer in expected.items():
                        status, _, body = await peer.get("/", f"Accept-Language: {language}", host=host)
                        assert (status, body) == answer if answer else status == 404

        for _ in range(3):
            await ask_all()
        known = {len(protocol.answers.heads) for protocol in fast_protocols()}
        assert known == {4}, "two languages of two hosts"
        await hosting.publish("b.test", {"index.html": b"b2"})
        expected["b.test"] = (200, b"b2")
        for _ in range(3):
            await ask_all()
        await hosting.metadata.delete_site(site.id)
        latest = Client(*await asyncio.open_connection(*address))
        assert (await latest.get("/", "Accept-Language: en", host="b.test"))[0] == 404
        for peer in (*others, latest):
            peer.writer.transport.abort()


async def test_a_table_that_was_given_up_is_made_anew_for_heads_that_are_known(slowly: list[bytes]) -> None:
    async with connected() as (hosting, client):
        await hosting.site("b.test", {"index.html": b"b"})
        for _ in range(3):
            for host, body in (("a.test", b"home"), ("b.test", b"b")):
                assert (await client.get("/", host=host))[2] == body
        (answers,) = {protocol.answers for protocol in fast_protocols()}
        for sender in answers._senders.values():
            assert sender.table is not None
            answers._tables._retire(sender.table)
        answers._tables._tables.clear()
        known = set(answers._senders.values())
        del slowly[:]
        for _ in range(3):
            for host, body in (("a.test", b"home"), ("b.test", b"b")):
                assert (await client.get("/", host=host))[2] == body
        assert slowly == []
        assert known.isdisjoint(met[1] for met in answers.heads.values())


@pytest.mark.parametrize("target", ["/page", "/docs"])
@pytest.mark.parametrize(
    "field", ["Range: bytes={}", 'If-None-Match: "{}"', "If-None-Match: {etag}\r\nIf-Modified-Since: {}"]
)
async def test_a_head_that_is_too_large_is_refused_whatever_is_known_of_it(target: str, field: str) -> None:
    async with connected() as (_, client):
        for _ in range(3):
            _, head, _ = await client.get(target)
        etag = head.partition(b"etag: ")[2].split(b"\r\n")[0].decode() or '"none"'
        for _ in range(3):
            await client.get(target, field.format("0", etag=etag))
        status, head, _ = await client.get(target, field.format("z" * 40_000, etag=etag))
        assert (status, b"connection: close" in head) == (431, True)


async def test_conditions_are_known_by_their_bytes_in_no_more_than_the_usual_words() -> None:
    async with connected() as (hosting, client):
        for _ in range(2):
            _, head, _ = await client.get("/page")
        etag = head.split(b"etag: ")[1].split(b"\r\n")[0].decode()
        date = head.split(b"last-modified: ")[1].split(b"\r\n")[0].decode()
        (table,) = {sender.table for protocol in fast_protocols() for sender in protocol.answers._senders.values()}
        assert table is not None
        before = len(table.answers)
        for since in [date, *(f"Mon, {day} Sep 2026 14:13:20 GMT" for day in range(10, 20))]:
            lines = [f"If-None-Match: {etag}", f"If-Modified-Since: {since}"]
            for asked in (lines, lines[::-1], lines[:1]):
                for _ in range(3):  # who it is, what changes, and that
                    status, head, _ = await client.get("/page", *asked)
                    assert (status, f"etag: {etag}\r\n".encode() in head) == (304, True)
        for _ in range(3):
            assert (await client.get("/page", 'If-None-Match: "other"', f"If-Modified-Since: {date}"))[0] == 200
        # Without a date, with it behind the tag, and before it.
        assert len(table.answers) == before + 3
        await hosting.publish("a.test", {"page.html": b"page 2"})
        for asked in (lines, lines[:1]):
            assert (await client.get("/page", *asked))[::2] == (200, b"page 2")


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        client.writer.close()
        with suppress(ConnectionError):
            await client.writer.wait_closed()


DATES = re.compile(rb"date: [^\r]*\r\n")
TIMES = re.compile(rb'"time":"[^"]*"')


async def test_a_line_that_is_left_out_is_missed_wherever_it_stood() -> None:
    """Every order of some lines, thrice, so that their shape is known; and then those without one of them. The answer,
    and what the log says, is the plain door's."""
    async with memory_hosting() as hosting, AsyncExitStack() as stack:
        await hosting.site("a.test", {"index.html": b"home " * 500})
        logs: tuple[list[bytes], list[bytes]] = [], []
        journals = [Journal(write=log.append) for log in logs]
        fast, plain = [
            await stack.enter_async_context(served(hosting.edge, journal=journal, fast=journal is journals[0]))
            for journal in journals
        ]

        async def ask(client: Client, lines: Sequence[str]) -> tuple[int, bytes, bytes]:
            client.writer.write("\r\n".join(("GET / HTTP/1.1", *lines, "\r\n")).encode())
            status, head, body = await client.answer()
            return status, DATES.sub(b"", head), body

        expected: dict[tuple[str, ...], tuple[int, bytes, bytes]] = {}

        async def check(client: Client, lines: tuple[str, ...]) -> bytes:
            """The head."""
            if lines not in expected:
                async with connection(plain) as other:
                    expected[lines] = await ask(other, lines)
            answer = await ask(client, lines)
            assert answer == expected[lines], lines
            return answer[1]

        for codings in ("identity", "gzip"):
            for _ in range(3):
                async with connection(fast) as client:
                    head = await check(client, ("Host: a.test", f"Accept-Encoding: {codings}"))
        date, tag = (head.split(name)[1].split(b"\r\n")[0].decode() for name in (b"last-modified: ", b"etag: "))
        for condition in (f"If-Modified-Since: {date}", "Range: bytes=0-0"):
            some = ["Host: a.test", "User-Agent: M", "Accept-Encoding: gzip", f"If-None-Match: {tag}", condition]
            for lines in permutations(some):
                for left_out in lines:
                    async with connection(fast) as client:
                        for _ in range(3):
                            await check(client, lines)
                        await check(client, tuple(line for line in lines if line != left_out))
        for journal in journals:
            journal.flush()
        told = [set(TIMES.sub(b"", b"".join(log)).splitlines()) for log in logs]
        assert told[0] - told[1] == told[1] - told[0] == set()


async def test_evicted_answers_are_found_again(slowly: list[bytes]) -> None:
    async with connected(40_000) as (hosting, client):
        await hosting.publish("a.test", {f"{number}.txt": b"%d" % number * 1000 for number in range(50)})
        for _ in range(3):
            for number in range(50):
                assert (await client.get(f"/{number}.txt"))[2] == b"%d" % number * 1000
        assert hosting.edge.cache.stats.evictions > 50
        assert hosting.edge.cache.size <= 40_000
        assert len(slowly) > 100


async def test_the_date_is_that_of_the_answer() -> None:
    async with connected() as (hosting, client):
        for _ in range(3):
            _, head, _ = await client.get("/page")
        assert b"date: Mon, 21 Sep 2026 14:13:20 GMT\r\n" in head
        hosting.clock.now = NOW + 3600
        moment = asyncio.get_running_loop().time() + 1.1
        over = asyncio.Event()
        asyncio.get_running_loop().call_at(moment, over.set)
        await over.wait()
        _, head, _ = await client.get("/page")
        assert b"date: Mon, 21 Sep 2026 15:13:20 GMT\r\n" in head


async def test_spellings_of_a_path_are_not_kept() -> None:
    async with connected() as (hosting, client):
        await client.get("/page")
        await client.get("/page")
        size = hosting.edge.cache.size
        for target in ("/%70age", "//page", "/p%61ge", "///page"):
            for _ in range(3):
                assert (await client.get(target))[2] == b"page"
        assert hosting.edge.cache.size == size


async def test_many_at_once_and_in_pieces() -> None:
    async with connected() as (_, client):
        await client.get("/page")
        request = f"GET /page HTTP/1.1\r\nHost: a.test\r\n{BROWSER}\r\n".encode()
        client.writer.write(request * 700)
        for _ in range(700):
            assert (await client.answer())[2] == b"page"
        for octet in request * 3:
            client.writer.write(bytes([octet]))
            await client.writer.drain()
        for _ in range(3):
            assert (await client.answer())[2] == b"page"
        client.writer.write(b"\r\n")
        for _ in range(2):
            assert (await client.get("/page"))[2] == b"page"


async def test_sites_without_an_error_page_take_nothing_from_the_cache() -> None:
    async with connected(200_000) as (hosting, client):
        await hosting.site("bare.test", {"index.html": b"bare"})
        for number in range(MISSES_BEFORE_INDEX):
            await client.get(f"/none/{number}", host="bare.test")
        await asyncio.gather(*hosting.edge._library._indexing)
        size = hosting.edge.cache.size
        for number in range(300):
            lines = f"Accept: {number}\r\nAccept-Encoding: gzip;q=0.{number:03}"
            request = f"GET /none HTTP/1.1\r\nHost: bare.test\r\n{lines}\r\n\r\n"
            client.writer.write(request.encode())
            assert (await client.answer())[0] == 404
        assert hosting.edge.cache.size == size


async def test_an_index_that_was_let_go_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as (hosting, client):
        library = hosting.edge._library
        for _ in range(2):
            for number in range(MISSES_BEFORE_INDEX):
                await client.get(f"/none/{number}")
            await asyncio.gather(*library._indexing)
            assert len(library._indexes) == 1
            library._indexes.clear()
            assert (await client.get("/none"))[2] == b"lost"
        monkeypatch.setattr(library_module, "MAX_NAMES", -1)  # any site has too many
        for number in range(2 * MISSES_BEFORE_INDEX):
            await client.get(f"/none/{number}")
            await asyncio.gather(*library._indexing)
        assert len(library._indexes) == 0
        assert len(library._large) == 1


async def test_notes_of_a_moment_that_begins_before_the_timer_s_turn_are_handed_on_too() -> None:
    loop = asyncio.get_running_loop()
    lines: list[bytes] = []
    journal = Journal(lambda: NOW, write=lines.append)
    now = loop.time()
    journal.tick(loop, now)
    journal.note(Tally("", 200, 0), b"1", b"", b"\n")
    later = journal.moment.until
    journal.tick(loop, later)  # as an answer does whose turn comes before the timer's
    journal.note(Tally("", 200, 0), b"2", b"", b"\n")
    over = asyncio.Event()
    loop.call_at(later + 0.01, journal.note, Tally("", 200, 0), b"3", b"", b"\n")
    loop.call_at(later + 1.1, over.set)
    await over.wait()
    assert b"".join(lines)[:1] == b"1"
    assert b"".join(lines).count(b"\n") == 3


async def test_notes_are_handed_on_when_there_are_many() -> None:
    loop = asyncio.get_running_loop()
    lines: list[bytes] = []
    counted: dict[int, int] = {}
    journal = Journal(
        lambda: NOW + 0.5,
        write=lines.append,
        count=lambda tallies: counted.update({tally.status: count for tally, count in tallies.items()}),
    )
    tally = Tally("site_1", 200, 5)
    now = loop.time()
    journal.tick(loop, now)
    for _ in range(MAX_NOTES):
        journal.note(tally, b"p", b"r", b"s\n")
    assert lines == [b"p2026-09-21T14:13:20.500rs\n" * MAX_NOTES]
    journal.flush()
    assert counted == {200: MAX_NOTES}
    assert len(lines) == 1
