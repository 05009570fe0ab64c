"""What the rows ask: the requests of each client, as the bytes that are sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.corpus import BROWSERS, DOMAIN, IMAGE, PAGES, SCRIPT, VIDEO, Corpus, browser_heads, page_path, zipf

CONNECTIONS = 64
DRAWS = 65_536  # of hosts, before the sequence starts again

Validators = Callable[[str], Mapping[str, str]]  # of a path: the `etag` and `last-modified` that the server gives


@dataclass(frozen=True, slots=True)
class Scene:
    """What can be asked: the files, of how many hosts, and what a server says of a path."""

    corpus: Corpus
    hosts: int
    validators: Validators


@dataclass(frozen=True, slots=True)
class Work:
    """`clients`: what each sends in turn, over and over. `order`: where all share one client's requests, which follows
    which. Every answer has `status`; `coding` is its Content-Encoding."""

    clients: Sequence[Sequence[bytes]]
    status: int = 200
    order: Sequence[int] = ()
    coding: str | None = None


def request(path: str, head: bytes, host: str = DOMAIN, *more: str) -> bytes:
    """A whole request. `head` are a browser's lines; `more` go after them, or instead of those of their name."""
    names = tuple(line.partition(":")[0].lower().encode() + b":" for line in more)
    kept = [line for line in head.splitlines(keepends=True) if not line.lower().startswith(names or (b"\n",))]
    lines = b"".join([*kept, *(f"{line}\r\n".encode() for line in more)])
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode() + lines + b"\r\n"


def one_browser() -> bytes:
    """The first browser's head."""
    return next(browser_heads(1))


def browsers_over_pages(_scene: Scene) -> Work:
    """Each browser has a connection, on which it repeats its head for one page after the other."""
    paths = [page_path(number) for number in range(1, PAGES + 1)]
    clients = []
    for number, head in enumerate(browser_heads()):
        requests = [request(path, head) for path in paths]
        clients.append(requests[number % PAGES :] + requests[: number % PAGES])
    return Work(clients)


def revalidations(scene: Scene) -> Work:
    """As `browsers_over_pages`, and every page is in the browser's cache. Half send the date beside the tag."""
    paths = [page_path(number) for number in range(1, PAGES + 1)]
    known = {path: scene.validators(path) for path in paths}
    clients = []
    for number, head in enumerate(browser_heads()):
        requests = []
        for path in paths:
            more = [f"If-None-Match: {known[path]['etag']}"]
            if number % 2:
                more.append(f"If-Modified-Since: {known[path]['last-modified']}")
            requests.append(request(path, head, DOMAIN, *more))
        clients.append(requests[number % PAGES :] + requests[: number % PAGES])
    return Work(clients, status=304)


def same(path: str, *more: str, connections: int = CONNECTIONS, coding: str | None = None, status: int = 200) -> Work:
    """The same request on every connection, always."""
    return Work([[request(path, one_browser(), DOMAIN, *more)]] * connections, status=status, coding=coding)


def one_page(_scene: Scene) -> Work:
    return same(page_path(1))


def one_page_by_few(_scene: Scene) -> Work:
    """Half as many connections, for where each has several requests under way."""
    return same(page_path(1), connections=CONNECTIONS // 2)


def different_heads(_scene: Scene) -> Work:
    """The user agent and the cookie change with each request."""
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:{number}) Gecko/20100101 Firefox/128.0"
    more = (f"User-Agent: {agent}", "Cookie: _ga=GA1.1.{number}.1767225600; sid=0f3c2a1b{number}; consent=1")
    head = one_browser()
    return Work([[request(page_path(number), head, DOMAIN, *more) for number in range(1, PAGES + 1)]] * CONNECTIONS)


def missing_paths(_scene: Scene) -> Work:
    return same("/gone/{number}.html", status=404)


def brotli_script(_scene: Scene) -> Work:
    # Not zstd, which some do not have, so that all send the same.
    return same(SCRIPT, "Accept-Encoding: gzip, deflate, br", coding="br")


def gzip_script(_scene: Scene) -> Work:
    return same(SCRIPT, "Accept-Encoding: gzip, deflate", coding="gzip")


def image(_scene: Scene) -> Work:
    return same(IMAGE)


def video(_scene: Scene) -> Work:
    return same(VIDEO, connections=16)


def video_range(_scene: Scene) -> Work:
    """One megabyte out of the middle, as players ask."""
    return same(VIDEO, "Range: bytes=4194304-5242879", connections=16, status=206)


def new_connections(_scene: Scene) -> Work:
    return same(page_path(1), "Connection: close")


def many_hosts(scene: Scene) -> Work:
    """The first page of every host, the popular ones more often (Zipf), each from another browser."""
    heads = list(browser_heads())
    names = scene.corpus.host_names(scene.hosts)
    requests = [request("/", heads[number % BROWSERS], name) for number, name in enumerate(names)]
    return Work([requests] * CONNECTIONS, order=zipf(len(names), DRAWS))
