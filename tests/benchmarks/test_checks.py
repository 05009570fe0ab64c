"""What is asked and how answers are judged: no wrong one is ever timed."""

from __future__ import annotations

import gzip
import socket
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import work
from benchmarks.certificates import make_certificate
from benchmarks.checks import check, target, visit
from benchmarks.corpus import (
    BROWSERS,
    DOMAIN,
    IMAGE,
    PAGES,
    SCRIPT,
    VIDEO,
    Corpus,
    browser_heads,
    host_name,
    make_corpus,
    page_path,
    zipf,
)
from benchmarks.peers.base import Place, Setting
from benchmarks.processes import BenchError
from benchmarks.rows import ROWS, Row
from benchmarks.work import Scene, Work
from tests.benchmarks.serving import answering


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), hosts=3)


# The files and the requests


def test_the_files_are_the_same_each_time(corpus: Corpus, tmp_path: Path) -> None:
    again = make_corpus(tmp_path, hosts=3)
    for path in (page_path(1), page_path(PAGES), IMAGE, SCRIPT, VIDEO, "/404.html"):
        assert again.content(DOMAIN, path) == corpus.content(DOMAIN, path)
    sizes = [len(corpus.content(DOMAIN, path)) for path in (page_path(1), SCRIPT, IMAGE, VIDEO)]
    assert sizes == [1024, 100 * 1024, 100 * 1024, 10 * 1024 * 1024]
    assert len({corpus.content(host, "/") for host in corpus.host_names(3)}) == 3
    assert corpus.content(DOMAIN, "/gone") == corpus.content(DOMAIN, "/404.html")


def test_only_the_script_can_be_compressed(corpus: Corpus) -> None:
    assert gzip.decompress((corpus.static / f"{SCRIPT[1:]}.gz").read_bytes()) == corpus.content(DOMAIN, SCRIPT)
    for path, least in ((SCRIPT, 0.2), (IMAGE, 1.0), (page_path(1), 1.0)):
        content = corpus.content(DOMAIN, path)
        assert least <= len(gzip.compress(content)) / len(content) < least + 0.2
    assert not (corpus.published / f"{SCRIPT[1:]}.gz").exists()


def test_browsers_differ_and_repeat_themselves() -> None:
    heads = list(browser_heads())
    assert len(set(heads)) == len(heads) == BROWSERS
    assert all(450 < len(head) < 1000 for head in heads)
    assert list(browser_heads(5)) == heads[:5]


def test_hosts_are_asked_as_often_as_zipf_says() -> None:
    draws = zipf(100, 50_000)
    assert set(draws) == set(range(100))
    assert draws.count(0) / draws.count(9) == pytest.approx(10, rel=0.2)


def test_a_header_is_replaced_or_added() -> None:
    head = b"User-Agent: a\r\nAccept-Encoding: br\r\n"
    assert work.request("/x", head, "h.example", "accept-encoding: gzip", "Range: bytes=0-1") == (
        b"GET /x HTTP/1.1\r\nHost: h.example\r\nUser-Agent: a\r\naccept-encoding: gzip\r\nRange: bytes=0-1\r\n\r\n"
    )
    assert work.request("/", head) == b"GET / HTTP/1.1\r\nHost: bench.localhost\r\n" + head + b"\r\n"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_every_row_asks_for_what_is_there(corpus: Corpus, row: Row) -> None:
    asked = row.work(Scene(corpus, corpus.hosts, lambda path: {"etag": f'"{path}"', "last-modified": "yesterday"}))
    for request in {*asked.clients[0], *(client[0] for client in asked.clients)}:
        assert request.endswith(b"\r\n\r\n")
        assert request.count(b"\r\nHost: ") == 1
        host, path = target(request)
        page_is_missing = corpus.content(host, path) == corpus.content(DOMAIN, "/404.html")
        assert page_is_missing == (asked.status == 404)
    assert all(0 <= number < len(asked.clients[0]) for number in asked.order)


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_each_browser_keeps_to_its_head(corpus: Corpus) -> None:
    clients = work.browsers_over_pages(Scene(corpus, 0, lambda path: {})).clients
    heads = [{request.partition(b"\r\n")[2] for request in client} for client in clients]
    assert {len(own) for own in heads} == {1}
    assert len(set.union(*heads)) == BROWSERS
    assert {len({target(request) for request in client}) for client in clients} == {PAGES}


def test_validators_differ_by_client(corpus: Corpus) -> None:
    known = {"etag": '"tag"', "last-modified": "yesterday"}
    clients = work.revalidations(Scene(corpus, 0, lambda path: known)).clients
    assert all(b"\r\nIf-None-Match: " in request for client in clients for request in client)
    assert sum(b"\r\nIf-Modified-Since: " in client[0] for client in clients) == BROWSERS // 2


# The answers

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b"


def place(corpus: Corpus, port: int, directory: Path, setting: Setting | None = None) -> Place:
    certificate = make_certificate(directory, DOMAIN)
    return Place(setting or Setting("site"), corpus, certificate, directory, port, 0)


def judge(corpus: Corpus, directory: Path, asked: Work, answer: bytes) -> dict[str, int]:
    def send(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(answer)
        if b"Connection: close" in answer:
            connection.shutdown(socket.SHUT_WR)

    with answering(send) as port, closing(visit(place(corpus, port, directory))) as visitor:
        return check(asked, corpus, visitor)


def good(body: bytes, more: bytes = b"") -> bytes:
    return GOOD % (len(body), more, body)


def test_right_answers_are_measured(corpus: Corpus, tmp_path: Path) -> None:
    answer = good(corpus.content(DOMAIN, page_path(1)))
    assert judge(corpus, tmp_path, work.same(page_path(1)), answer) == {DOMAIN + page_path(1): len(answer)}


def test_a_range_is_a_part_of_the_file(corpus: Corpus, tmp_path: Path) -> None:
    asked = work.same(IMAGE, "Range: bytes=10-19", status=206)
    answer = good(corpus.content(DOMAIN, IMAGE)[10:20]).replace(b"200 OK", b"206 Part")
    assert judge(corpus, tmp_path, asked, answer)


def test_a_coding_is_undone(corpus: Corpus, tmp_path: Path) -> None:
    body = gzip.compress(corpus.content(DOMAIN, SCRIPT))
    assert judge(corpus, tmp_path, work.same(SCRIPT, coding="gzip"), good(body, b"Content-Encoding: gzip\r\n"))


def test_a_server_may_close(corpus: Corpus, tmp_path: Path) -> None:
    answer = good(corpus.content(DOMAIN, page_path(1)), b"Connection: close\r\n")
    asked = Work([[work.request(page_path(1), b""), work.request(page_path(1), b"A: b\r\n")]])
    assert judge(corpus, tmp_path, asked, answer)


@pytest.mark.parametrize(
    ("asked", "answer", "complaint"),
    [
        (work.same("/"), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered with 404, not 200"),
        (work.same(IMAGE), good(b"something else"), "other bytes than the file's"),
        (work.same(SCRIPT, coding="br"), good(b"x"), "in the coding None, not br"),
        (work.same(SCRIPT), good(b"x", b"Content-Encoding: gzip\r\n"), "in the coding gzip, not None"),
        (work.same("/"), b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n", "no answer to GET /"),
    ],
)
def test_wrong_answers_are_named(corpus: Corpus, tmp_path: Path, asked: Work, answer: bytes, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        judge(corpus, tmp_path, asked, answer)


def test_answers_of_different_lengths_cannot_be_counted(corpus: Corpus, tmp_path: Path) -> None:
    page = corpus.content(DOMAIN, page_path(1))
    answers = [good(page), good(page, b"X: y\r\n")]

    def send(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answers[b"A: b" in request])

    asked = Work([[work.request(page_path(1), b""), work.request(page_path(1), b"A: b\r\n")]])
    with (
        answering(send) as port,
        closing(visit(place(corpus, port, tmp_path))) as visitor,
        pytest.raises(BenchError, match="and with"),
    ):
        check(asked, corpus, visitor)


def test_nobody_answers(corpus: Corpus, tmp_path: Path) -> None:
    with answering(lambda connection, request: None) as port:
        pass
    for setting in (Setting("site"), Setting("http2", tls=True, http2=True)):
        with (
            closing(visit(place(corpus, port, tmp_path, setting))) as visitor,
            pytest.raises(BenchError, match="no answer"),
        ):
            visitor.ask(work.request("/", b""))


def test_hosts_have_numbers_of_one_length() -> None:
    assert len({len(host_name(number)) for number in (0, 9, 10, 999_999)}) == 1
