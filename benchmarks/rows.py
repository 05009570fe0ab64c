"""The rows of the table: what is asked, of a server set up how, by which client, and what we aim at.

Adding a row is adding a line here. `target` is the greatest ratio of ours over nginx's that we want.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from benchmarks import loads, work
from benchmarks.loads import Load
from benchmarks.peers.base import Setting
from benchmarks.work import Scene, Work

Metric: TypeAlias = Literal["cpu_us", "p99_ms"]

SITE = Setting("site")
FRESH = Setting("fresh")  # as SITE, but nobody has had many connections to it
TLS = Setting("tls", tls=True)
HTTP2 = Setting("http2", tls=True, http2=True)
IDLE = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """`name` is for options and files, `title` for people. `metric` is what the ratio is of. With a `share`, `load` is
    replaced by requests at set times, at that share of the greatest rate that the reference can do."""

    name: str
    title: str
    setting: Setting
    work: Callable[[Scene], Work]
    load: Load
    target: float | None
    metric: Metric = "cpu_us"
    share: float | None = None


def _hosts(number: int, target: float | None = None) -> Row:
    setting = Setting(f"hosts-{number}", hosts=number)
    return Row(setting.name, f"{number:,} host{'s' * (number > 1)}, Zipf", setting, work.many_hosts, loads.wrk, target)


def _latency(percent: int, target: float | None = None) -> Row:
    title = f"p99 at {percent}% of nginx's greatest rate"
    asked = work.browsers_over_pages
    return Row(f"latency-{percent}", title, SITE, asked, loads.clients, target, "p99_ms", percent / 100)


ROWS = (
    Row("browsers", "1,000 browsers, 20 pages", SITE, work.browsers_over_pages, loads.clients, 0.8),
    Row("same", "identical heads, one page", SITE, work.one_page, loads.wrk, 0.75),
    Row("different", "every head different", SITE, work.different_heads, loads.wrk, 0.95),
    Row("304", "304, validators differing by client", SITE, work.revalidations, loads.clients, 0.8),
    Row("404", "404 with the site's page, every path different", SITE, work.missing_paths, loads.wrk, 0.9),
    Row("brotli", "100 KB script in brotli", SITE, work.brotli_script, loads.wrk, 0.9),
    Row("gzip", "100 KB script in gzip", SITE, work.gzip_script, loads.wrk, 0.9),
    Row("100kb", "100 KB", SITE, work.image, loads.wrk, 1.0),
    Row("10mb", "10 MB", SITE, work.video, loads.wrk, 1.15),
    Row("range", "1 MB range of 10 MB", SITE, work.video_range, loads.wrk, 1.15),
    Row("connect", "a new connection for each request", SITE, work.new_connections, loads.wrk, 1.3),
    _latency(70, 1.2),
    Row("idle", f"1,000 browsers beside {IDLE:,} idle connections", FRESH, work.browsers_over_pages,
        loads.clients_beside_idle(IDLE), 1.0),
    _hosts(10_000, 0.9),
    Row("tls", "TLS 1.3, identical heads", TLS, work.one_page, loads.wrk, 1.0),
    Row("handshake", "a new TLS connection for each request", TLS, work.new_connections, loads.wrk, 1.5),
    Row("http2", "HTTP/2 over TLS, identical heads", HTTP2, work.one_page_by_few, loads.h2load, 0.8),
    # Further points of the curves.
    *(_latency(percent) for percent in (10, 30, 50, 90)),
    *(_hosts(number) for number in (1, 10, 100, 1000)),
)  # fmt: skip
