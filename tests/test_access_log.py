"""Where the lines go: a file that may move, a disk that may be full, a pipe that nobody reads."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server import access_log
from server.access_log import AccessLog, AccessLogError, check_access_log, open_access_log


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def logging_to(path: Path | None, clock: Callable[[], float] | None = None) -> Iterator[AccessLog]:
    log = AccessLog(path) if clock is None else AccessLog(path, clock)
    try:
        yield log
    finally:
        log.close()


def settle(log: AccessLog) -> None:
    """Return when what was given so far has been written, or could not be."""
    while log._given > log._taken:
        pass


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    with logging_to(path) as log:
        log.write(b"one\ntwo\n")
        log.write(b"three\n")
    assert path.read_bytes() == b"before\none\ntwo\nthree\n"
    assert log.dropped == 0
    assert path.stat().st_mode & 0o077 == 0o044 or path.stat().st_mode & 0o077 == 0


def test_a_new_file_is_the_operators_own(tmp_path: Path) -> None:
    with logging_to(tmp_path / "access.log") as log:
        log.write(b"one\n")
    assert (tmp_path / "access.log").stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_moved_is_left_within_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "access.log", Clock()
    with logging_to(path, clock) as log:
        log.write(b"one\n")
        settle(log)
        path.rename(tmp_path / "access.log.1")
        log.write(b"two\n")
        settle(log)
        clock.now = 1.0
        log.write(b"three\n")
        settle(log)
        path.rename(tmp_path / "access.log.2")
        path.write_bytes(b"made by another\n")
        clock.now = 2.0
        log.write(b"four\n")
        settle(log)
        clock.now = 3.0
        log.write(b"five\n")
    assert (tmp_path / "access.log.1").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "access.log.2").read_bytes() == b"three\n"
    assert path.read_bytes() == b"made by another\nfour\nfive\n"


def test_what_cannot_be_opened_is_dropped_and_told_once(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "access.log"
    with capture_logs() as told, logging_to(path) as log:
        log.write(b"one\ntwo\n")
        log.write(b"three\n")
        settle(log)
        assert log.dropped == 3
        path.parent.mkdir()
        log.write(b"four\n")
        log.write(b"five\n")
    assert path.read_bytes() == b"four\nfive\n"
    assert [(entry["log_level"], entry["event"]) for entry in told] == [
        ("error", "the access log cannot be written; lines are dropped"),
        ("info", "the access log is written again"),
    ]
    assert told[0]["reason"] == "No such file or directory"
    assert told[1]["dropped"] == 3


def test_who_has_nothing_to_say_says_nothing(tmp_path: Path) -> None:
    with capture_logs() as told, logging_to(tmp_path / "access.log"):
        pass
    with logging_to(tmp_path / "logs" / "access.log"):
        pass
    assert list(tmp_path.iterdir()) == []
    assert told == []


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    full = tmp_path / "access.log"
    full.symlink_to("/dev/full")
    with capture_logs() as told, logging_to(full) as log:
        log.write(b"one\ntwo\n")
        log.write(b"three\n")
    assert log.dropped == 3
    assert [entry["reason"] for entry in told] == ["No space left on device"]


def test_a_line_that_was_torn_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with capture_logs(), logging_to(path) as log:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (6, hard)
        )  # as many bytes are taken, as by a disk that is nearly full
        try:
            log.write(b"one\ntwo\nthree\n")
            settle(log)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.write(b"four\n")
    assert path.read_bytes() == b"one\ntw\nfour\n"
    assert log.dropped == 2


def test_two_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with logging_to(path) as one, logging_to(path) as two:
        for _ in range(200):
            one.write(b"1" * 999 + b"\n" + b"1" * 999 + b"\n")
            two.write(b"2" * 999 + b"\n")
    lines = path.read_bytes().splitlines()
    assert sorted(set(lines)) == [b"1" * 999, b"2" * 999]
    assert len(lines) == 600


@contextmanager
def standard_output(descriptor: int) -> Iterator[None]:
    """Have it stand for standard output."""
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_standard_output_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    lines = b"".join(b"%d" % number + b"x" * 1000 + b"\n" for number in range(30)) + b"y" * 5000 + b"\n"
    with standard_output(writing), logging_to(None) as log:
        log.write(lines)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == lines


def test_a_pipe_that_nobody_reads_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_WAITING_BYTES", 300_000)
    monkeypatch.setattr(access_log, "CLOSE_SECONDS", 0.01)
    reading, writing = os.pipe()
    with capture_logs() as told, standard_output(writing):
        with logging_to(None) as log:
            for _ in range(10):
                log.write(b"x" * 99_999 + b"\n")
            assert log.dropped == 6
        reader = threading.Thread(target=drain, args=(reading, 400_000))
        reader.start()
        log._thread.join()
        log.write(b"")
        reader.join()
    os.close(reading)
    os.close(writing)
    events = [entry["event"] for entry in told]
    assert events == ["the access log cannot keep up; lines are dropped", "the access log is written again"]


def drain(descriptor: int, size: int) -> None:
    while size > 0:
        size -= len(os.read(descriptor, size))


def test_a_pipe_whose_reader_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with capture_logs() as told, standard_output(writing), logging_to(None) as log:
        log.write(b"one\n")
    os.close(writing)
    assert log.dropped == 1
    assert [entry["reason"] for entry in told] == ["Broken pipe"]


def test_the_setting(tmp_path: Path) -> None:
    assert open_access_log("off", tmp_path) is None
    for setting in ("off", "-", "access.log", str(tmp_path / "absolute.log")):
        check_access_log(setting, tmp_path)
        log = open_access_log(setting, tmp_path)
        if log is not None:
            log.close()
    with pytest.raises(AccessLogError, match=r"nowhere/access.log: No such file or directory; choose another"):
        check_access_log("nowhere/access.log", tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AccessLogError):
        check_access_log("pipe", tmp_path)
