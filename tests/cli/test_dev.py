"""`spacelane dev`: the edge over a folder, and pages that load themselves anew."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server import dev
from server.cli.dev import _is_watched, _read
from server.cli.scan import scan
from server.reloading import EVENTS_PATH, SCRIPT_PATH, add_script
from tests.cli.conftest import Run, make_tree
from tests.support.wire import get

TAG = b'<script src="/.spacelane/reload.js" async></script>'


@pytest.mark.parametrize(
    ("page", "scripted"),
    [
        (b"", TAG),
        (b"<p>x", b"<p>x" + TAG),
        (b"<body>x</body></html>", b"<body>x" + TAG + b"</body></html>"),
        (b"<pre></body></pre>x</BODY >\n", b"<pre></body></pre>x" + TAG + b"</BODY >\n"),
    ],
)
def test_a_page_gets_the_script(page: bytes, scripted: bytes) -> None:
    assert add_script(page) == scripted


@pytest.mark.parametrize(
    ("path", "watched"), [("a/b.html", True), (".git/index", False), ("a/.b.swp", False), (".well-known/x", True)]
)
def test_what_is_watched(path: str, watched: bool) -> None:
    assert _is_watched(path) is watched


@dataclass
class Dev:
    """A folder that is served in the test's own loop, and what was told of it."""

    folder: Path
    published: asyncio.Queue[dev.Published] = field(default_factory=asyncio.Queue)
    port: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    lines: list[bytes] = field(default_factory=list)

    async def get(self, path: str, host: str = "localhost") -> tuple[int, bytes]:
        answer = await asyncio.to_thread(get, await self.port, host, path)
        return answer.status, answer.body


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Dev]:
    told = Dev(folder)
    sock = dev.bind(0)
    running = asyncio.create_task(
        dev.run(
            folder,
            sock,
            read=lambda: _read(folder),
            is_watched=_is_watched,
            on_serving=lambda: told.port.set_result(sock.getsockname()[1]),
            on_published=told.published.put_nowait,
            on_answers=told.lines.append,
        )
    )
    try:
        await asyncio.wait((running, told.port), return_when=asyncio.FIRST_COMPLETED)
        assert told.port.done(), running.result()
        yield told
    finally:
        running.cancel()
        with sock, suppress(asyncio.CancelledError):
            await running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tree(
        tmp_path / "site",
        {
            "index.html": "<body>home</body>",
            "notes/index.html": "notes",
            "404.html": "lost",
            "style.css": "p {}",
            "_redirects": "/old /notes/ 302\n/x nonsense\n/y /nowhere\n",
            "_headers": "/*\n  X-Mine: yes\n  ETag: mine\n",
        },
    )


@pytest.mark.slow
async def test_a_folder_as_visitors_would_get_it(folder: Path) -> None:
    async with serving(folder) as told:
        first = await told.published.get()
        assert len(first.changed) == 6
        assert [problem.partition(": ")[0] for problem in first.problems] == [
            "_redirects:2",
            "_redirects:3",
            "_headers:3",
        ]
        assert await told.get("/") == (200, b"<body>home" + TAG + b"</body>")
        assert await told.get("/", host="any.example:80") == (200, b"<body>home" + TAG + b"</body>")
        assert await told.get("/style.css") == (200, b"p {}")
        assert await told.get("/nowhere") == (404, b"lost" + TAG)
        assert (await told.get("/notes"))[0] == 308
        assert (await told.get("/", host="a b"))[0] == 400
        answer = await asyncio.to_thread(get, await told.port, "localhost", "/old")
        assert (answer.status, answer.header("location")) == (302, "/notes/")
        assert (await asyncio.to_thread(get, await told.port, "localhost", "/notes/")).header("x-mine") == "yes"
        assert b"EventSource" in (await told.get(SCRIPT_PATH))[1]
    assert b'"target":"/old"' in b"".join(told.lines)


@pytest.mark.slow
async def test_a_change_reaches_the_browser(folder: Path) -> None:
    async with serving(folder) as told:
        await told.published.get()
        reader, writer = await asyncio.open_connection("127.0.0.1", await told.port)
        writer.write(f"GET {EVENTS_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"text/event-stream" in await reader.readuntil(b"retry: 500\n\n")
        (folder / "index.html").write_text("<body>new</body>")
        (folder / "style.css").unlink()
        await reader.readuntil(b"data: changed\n\n")
        seen = await told.published.get()
        while seen.removed != ["style.css"]:  # the two may have been looked at one after the other
            seen = await told.published.get()
        assert await told.get("/") == (200, b"<body>new" + TAG + b"</body>")
        assert (await told.get("/style.css"))[0] == 404
        writer.close()
        await writer.wait_closed()


@pytest.mark.slow
async def test_a_folder_that_is_made_anew(folder: Path) -> None:
    async with serving(folder) as told:
        await told.published.get()
        shutil.rmtree(folder)
        make_tree(folder, {"index.html": "anew"})
        while (await told.get("/"))[1] != b"anew" + TAG:
            await told.published.get()
        (folder / "index.html").write_text("and again")
        while (await told.get("/"))[1] != b"and again" + TAG:
            await told.published.get()


def test_a_port_that_is_taken(folder: Path, run: Run) -> None:
    with dev.bind(0) as sock:
        code, _, err = run("dev", folder, "--port", sock.getsockname()[1])
    assert (code, "--port" in err) == (1, True)


def test_a_folder_that_cannot_be_watched(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dev, "run", fail)
    code, _, err = run("dev", folder, "--port", "0")
    assert (code, "max_user_watches" in err) == (1, True)


@pytest.mark.slow
async def test_a_browser_is_let_go_at_the_end(folder: Path) -> None:
    async with serving(folder) as told:
        reader, writer = await asyncio.open_connection("127.0.0.1", await told.port)
        writer.write(f"GET {EVENTS_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readuntil(b"retry: 500\n\n")
    assert b"data:" not in await reader.read()
    writer.close()


async def test_memory_does_not_keep_what_is_gone(folder: Path) -> None:
    preview = dev.Preview()
    await preview.open()
    for content in "abc":
        (folder / "index.html").write_text(content)
        done = await preview.publish(scan(folder).files)
    assert (done.changed, done.removed) == (["index.html"], [])
    assert sum([len(batch) async for batch in preview._blobs.list_stored(0)]) == 6
    assert (await preview.publish(scan(folder).files)).changed == []


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """What is started here does, even where a shell runs the tests in the background, for which it has them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def command(folder: Path, heeds_interrupts: None) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "server", "dev", str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    ) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_the_command(command: subprocess.Popen[str], folder: Path) -> None:
    assert command.stdout is not None
    assert command.stderr is not None
    said = [command.stdout.readline() for _ in range(3)]
    visit = re.search(r"http://localhost:(\d+)/", said[1])
    assert visit, said
    assert get(int(visit[1]), "localhost", "/style.css").body == b"p {}"
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=30)
    assert command.returncode == 0
    assert "GET /style.css" in out
    assert "6 files published: 404.html, _headers, _redirects, index.html, notes/index.html, …" in err
    assert "Warning: _redirects:2: " in err


def test_wrong_use(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, said in (("file", "is not a directory"), ("nowhere", "does not exist")):
        code, _, err = run("dev", tmp_path / name)
        assert (code, said in err) == (2, True)
