"""What visitors asked for lately, out of a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.config import Settings
from server.operators import known_traffic
from server.traffic import Traffic, read_traffic
from tests.support.process import Serve


def line(
    target: str, site: str = "site_1", status: int = 200, method: str = "GET", second: int = 1, host: str = "x"
) -> str:
    time = f"2026-11-22T10:00:{second:02}.500Z"
    facts: dict[str, Any] = {"time": time, "method": method, "target": target, "status": status, "site": site}
    return json.dumps({"remote": "127.0.0.1", **facts, "bytes": 1, "host": host, "referer": "", "user_agent": ""})


FIRST = 1_795_341_601_500  # the time of a line's second 1


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def test_requests_that_got_something_are_counted(tmp_path: Path) -> None:
    lines = [
        line("/a", second=1),
        line("/a?x=1", status=304, second=2),
        line("/%C3%A4%20b"),
        line("//b", method="HEAD", status=206),
        line("/old", status=301),
        line("/missing", status=404),
        line("/a", method="POST", status=405),
        line("/a", site="site_2"),
        line("/a", site="site_3"),
        line("/../x"),
        line("/a", host="01k0vdxkhdgr5n66pa9g--my.localhost:8080"),
        line("/a", host="01k0vdxkhdgr5n66pa9g--a-example--01k0vdxkhdgr5n66.localhost"),
        line("-", method="-", status=400, site=""),
        '{"target": "/a", "site": "site_1"}',
        "no JSON, and site_1 is in it",
        '["site_1"]',
        '{"time": 1, "site": "site_1"}',
    ]
    counted = read_traffic(write(tmp_path / "log", *lines), {"site_1", "site_3"})
    assert counted == Traffic(FIRST, {"/a": 3, "/ä b": 1, "/b": 1, "/old": 1})


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    lines = [line(f"/{number}", second=number) for number in range(10, 60)]
    log = write(tmp_path / "log", *lines)
    counted = read_traffic(log, {"site_1"}, tail=3 * (len(lines[0]) + 1) + 10)
    assert counted == Traffic(FIRST + 56_000, {"/57": 1, "/58": 1, "/59": 1})
    whole = read_traffic(log, {"site_1"}, tail=log.stat().st_size)
    assert (whole.since, len(whole.requests)) == (FIRST + 9_000, 50)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{line('/a')}\n{line('/b')}")
    assert read_traffic(log, {"site_1"}).requests == {"/a": 1}


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    assert read_traffic(tmp_path / "none", {"site_1"}) == Traffic(None, {})
    assert read_traffic(write(tmp_path / "empty"), {"site_1"}) == Traffic(None, {})


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({}, True),
        ({"access_log": "other.log"}, False),
        ({"access_log": "off"}, False),
        ({"access_log": "-"}, False),
        ({"access_log_format": "combined"}, False),
    ],
)
def test_only_a_log_that_tells_of_sites_counts(tmp_path: Path, settings: dict[str, Any], known: bool) -> None:
    write(tmp_path / "access.log", line("/a"))
    traffic = known_traffic(Settings(data_dir=tmp_path, **settings), ["site_1"])
    assert traffic == (Traffic(FIRST, {"/a": 1}) if known else Traffic())


@pytest.mark.slow
def test_a_diff_says_how_much_is_asked_for(tmp_path: Path) -> None:
    with Serve(tmp_path / "data") as serve:
        space, _ = serve.site("one.localhost", {"a.html": b"a", "b.html": b"b"})
        for _ in range(3):
            assert serve.get("one.localhost", "/b").status == 200
        created = serve.post(f"space/{space}/deployment/create", {"files": {}})
        log = tmp_path / "data" / "access.log"
        serve.wait_until(lambda: log.read_text().count("\n") == 3)
        told = serve.api.get(f"/api/v1/space/{space}/deployment/{created['id']}/diff").json()
        assert [(item["url"], item["requests"]) for item in told["broken"]["items"]] == [("/b", 3), ("/a", 0)]
        assert told["trafficSince"]
