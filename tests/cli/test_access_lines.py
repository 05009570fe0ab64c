"""Reading the access log back, and `spacelane logs`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from server.cli import access_lines
from server.cli.access_lines import Wanted, follow, parse_statuses, read_backwards
from server.cli.errors import CliError
from tests.cli.conftest import Run


def answer(status: int = 200, host: str = "my.localhost:8080", target: str = "/", site: str = "site_1") -> str:
    fields = {"remote": "127.0.0.1", "time": "2026-11-22T09:00:00.000Z", "method": "GET", "target": target}
    return json.dumps({**fields, "protocol": "HTTP/1.1", "status": status, "bytes": 1500, "site": site, "host": host})


COMBINED = '127.0.0.1 - - [22/Nov/2026:09:00:00 +0000] "GET /x HTTP/1.1" 404 12 "-" "a \\"b\\" 200 5 "'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / ".spacelane" / "access.log"
    path.parent.mkdir()
    texts = [answer(), answer(404, target="/lost"), answer(503, host="other.localhost", site="site_2"), "torn {"]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


@pytest.mark.parametrize("block", [1, 7, 64 * 1024])
@pytest.mark.parametrize("text", ["", "a\n", "a\nbc\n\nd\xe9", "\n\n"])
def test_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, text: str) -> None:
    monkeypatch.setattr(access_lines, "BLOCK", block)
    path = tmp_path / "log"
    path.write_text(text)
    assert [*read_backwards(path, len(text.encode()))] == [line for line in text.split("\n") if line][::-1]


class Ended(Exception):
    """There is nothing more to wait for."""


def test_following_through_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\nhalf")

    def happen() -> Iterator[None]:
        with path.open("a") as file:
            file.write(" done\nlast\n")
        yield
        path.rename(tmp_path / "log.1")
        yield  # nothing has that name for a while
        path.write_text("new\n")
        yield
        path.write_text("")
        path.write_text("re\n")  # cut short, then written to again
        yield
        raise Ended

    happening = happen()
    seen = []
    with suppress(Ended):
        for line in follow(path, 4, lambda: next(happening)):
            seen.append(line)
    assert seen == ["half done", "last", "new", "re"]


@pytest.mark.parametrize(
    ("texts", "taken"),
    [([], {404, 503, 200}), (["404"], {404}), (["4XX", "503"], {404, 503}), (["200-404"], {200, 404})],
)
def test_statuses(texts: list[str], taken: set[int]) -> None:
    wanted = Wanted(None, parse_statuses(texts))
    assert {status for status in (200, 404, 503) if wanted.takes(answer(status))} == taken
    assert wanted.takes(COMBINED) == (404 in taken)
    assert wanted.takes("{not json") == (not texts)


@pytest.mark.parametrize("text", ["", "4x", "40", "600", "404-", "404-5xx"])
def test_no_status(text: str) -> None:
    with pytest.raises(CliError, match="is no status"):
        parse_statuses([text])


@pytest.mark.parametrize(
    ("host", "site", "taken"),
    [
        ("my.localhost:8080", "my.localhost", True),
        ("MY.localhost.", "my.localhost", True),
        ("[::1]:80", "[::1]", True),
        ("my.localhost", "site_1", True),
        ("my.localhost", "y.localhost", False),
    ],
)
def test_sites(host: str, site: str, taken: bool) -> None:
    assert Wanted(site, ()).takes(answer(host=host)) is taken


def test_the_last_lines(run: Run, log: Path) -> None:
    code, out, _ = run("logs", "--lines", "2")
    assert code == 0
    first, second = out.splitlines()
    assert first.endswith("  503    1.5 kB  GET other.localhost/")
    assert second == "torn {"
    assert "/lost" in run("logs", "--status", "404", "--site", "My.localhost")[1]
    (told,) = run("logs", "--site", "site_2", "--json")[1].splitlines()
    assert json.loads(told)["status"] == 503
    assert run("logs", "--file", log, "--lines", "0")[1] == ""


def test_following_until_it_is_interrupted(run: Run, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        if "later" in log.read_text():
            raise KeyboardInterrupt
        with log.open("a") as file:
            file.write(answer(target="/later") + "\n")

    monkeypatch.setattr("server.cli.logs.time.sleep", interrupt)
    code, out, _ = run("logs", "--lines", "0", "--follow")
    assert (code, out.count("GET my.localhost:8080/later")) == (130, 1)


def test_a_log_without_sites(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "combined.log"
    log.write_text(f"{COMBINED}\n")
    assert run("logs", "--file", log)[1] == f"{COMBINED}\n"
    code, _, err = run("logs", "--file", log, "--site", "my.localhost")
    assert (code, "--access-log-format json" in err) == (1, True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [("off", "--access-log access.log"), ("-", "standard output"), ("no.log", "there is no access log")],
)
def test_where_there_is_none(run: Run, monkeypatch: pytest.MonkeyPatch, setting: str, said: str) -> None:
    monkeypatch.setenv("SPACELANE_ACCESS_LOG", setting)
    code, _, err = run("logs")
    assert (code, said in err) == (1, True)


def test_a_log_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    code, _, err = run("logs", "--file", tmp_path)
    assert (code, "cannot be read" in err) == (1, True)


@pytest.mark.slow
def test_a_reader_who_has_seen_enough(log: Path) -> None:
    log.write_text(f"{answer()}\n" * 5000)
    command = f"{sys.executable} -m server logs --lines 5000 --file {log} | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
