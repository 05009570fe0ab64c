"""What the commands look like on a terminal of 80 columns, and in a pipe; and what starting them costs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from server.cli import console
from server.cli.errors import CliError
from tests.cli.conftest import make_tree
from tests.support.process import Serve

COLUMNS = 80
ESCAPES = re.compile(r"\x1b\][^\x1b\x07]*(?:\x1b\\|\x07)|\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(*arguments: object) -> tuple[int, str]:
    """A command on a terminal: its exit code, and all that it wrote, with the escapes."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    del environment["NO_COLOR"]
    command = [sys.executable, "-m", "server", *map(str, arguments)]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        said = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            while chunk := os.read(ours, 65536):
                said += chunk
        os.close(ours)
    return process.returncode, said.decode()


def shown(said: str) -> list[str]:
    """The lines as one sees them: what a bar drew over is gone."""
    return [line.rpartition("\r")[2].rstrip() for line in ESCAPES.sub("", said).replace("\r\n", "\n").splitlines()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process wrote to one."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", str(COLUMNS))):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR")


@pytest.mark.slow
def test_on_a_terminal(server: Serve, at: list[str], tmp_path: Path) -> None:
    site = make_tree(tmp_path / "site", {"index.html": "x", "_redirects": "/x nonsense nonsense\n", ".env": ""})
    code, said = on_terminal("deploy", site, "--domain", "terminal.localhost", "--message", "A word " * 20, *at)
    assert code == 0
    assert "\x1b[" in said
    lines = shown(said)
    assert max(map(len, lines)) <= COLUMNS
    assert any(line.startswith("Published  2 files") for line in lines)
    assert any("Uploading 2 files" in line and "/s" in line for line in lines)
    lines = shown(on_terminal("deployments", "list", "terminal.localhost", *at)[1])
    assert re.fullmatch(r"deployment_\w+", lines[0])
    assert lines[1].startswith("  live · 20")
    assert max(map(len, lines)) <= COLUMNS
    assert all(line.endswith(("word", "A")) or line == lines[0] for line in lines)  # wrapped between words


@pytest.mark.parametrize("rows", [[], [("a" * 30, "b" * 30, "-", "d" * 30)]])
def test_tables(terminal: None, capsys: pytest.CaptureFixture[str], rows: Sequence[Sequence[str]]) -> None:
    console.print_table(("one", "two", "three", "four"), rows)
    out = [line.rstrip() for line in ESCAPES.sub("", capsys.readouterr().out).splitlines()]
    assert out == (["a" * 30, f"  {'b' * 30} · {'d' * 30}"] if rows else ["one  two  three  four"])


def test_errors_are_wrapped_below_themselves(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    console.print_error(CliError("word " * 30, "step " * 30))
    lines = [line.rstrip() for line in ESCAPES.sub("", capsys.readouterr().err).splitlines()]
    assert max(map(len, lines)) <= COLUMNS
    assert [line[:11] for line in lines] == ["Error: word", "       word", "       word"] * 1 + [
        "Next:  step",
        "       step",
        "       step",
    ]


def test_in_a_pipe_a_line_stays_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_error(CliError("word " * 30, ""))
    console.print_table(("one", "two"), [("a" * 60, "b" * 60)])
    console.print_rows([("name", "word " * 30)])
    console.print_finding("fail", "disk", "word " * 30, "step")
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err + captured.out
    assert len(captured.err.splitlines()) == 1
    assert len(captured.out.splitlines()) == 5


@pytest.mark.slow
def test_starting_costs_little() -> None:
    """What takes most of the time is imported by what needs it."""
    code = "import sys, server.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"httpx", "pydantic", "pydantic_settings", "sqlalchemy", "fastapi", "starlette", "uvicorn", "watchfiles"}
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.slow
def test_completion() -> None:
    environment = {**os.environ, "_SPACELANE_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "server"]
    for words, completed in (("spacelane deployments r", "rollback\n"), ("spacelane site --h", "--help\n")):
        done = subprocess.run(
            command, env={**environment, "COMP_WORDS": words}, capture_output=True, text=True, check=True
        )
        assert done.stdout == completed


def test_somebody_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = iter([True, False])

    def ask(question: str, err: bool) -> bool:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(typer, "confirm", ask)
    console.confirm("Delete it?", yes=True)
    assert asked == []
    console.confirm("Delete it?", yes=False)
    with pytest.raises(CliError, match="nothing was changed"):
        console.confirm("Delete it, really?", yes=False)
    assert asked == ["Delete it?", "Delete it, really?"]
