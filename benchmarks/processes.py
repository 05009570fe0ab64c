"""Processes pinned to a core, what they have used, and their end.

A process started here is ended by the `with` block that holds it, whatever happens in it, and by the kernel if this
program is killed outright.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120.0  # 10,000 server blocks with certificates, on a busy machine
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What is to be measured cannot be; the text says why."""


def cores() -> tuple[int, int]:
    """One for the server and one for the client."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("two cores are needed: one for the server, one for the load")
    return usable[0], usable[1]


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """`command` on that core only, ended by the kernel once the process that started it is gone."""
    return ["taskset", "--cpu-list", str(core), "setpriv", "--pdeathsig", "TERM", *command]


def free_port() -> int:
    """A port on loopback that nobody listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class ServerProcess:
    """A server and its children. `logs` are the files that its access log and its messages go to."""

    def __init__(self, process: subprocess.Popen[bytes], logs: Sequence[Path]) -> None:
        self._process = process
        self._logs = logs

    @property
    def pid(self) -> int:
        return self._process.pid

    def pids(self) -> list[int]:
        """Of all its processes, itself first."""
        found = [self.pid]
        for pid in found:
            try:
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except FileNotFoundError:  # it has just ended
                continue
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far; those that ended are in their parent's."""
        return sum(cpu_seconds(pid) for pid in self.pids())

    def memory_bytes(self) -> int:
        """Resident, a page that several processes share divided among them (PSS)."""
        return sum(memory_bytes(pid) for pid in self.pids())

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def messages(self) -> str:
        """The last of what it has said."""
        said = "\n".join(log.read_text(errors="replace")[-2000:] for log in self._logs if log.exists())
        return said.strip() or "it said nothing"

    def forget_logs(self) -> None:
        """Empty the log files, which would fill the disk in the course of a run: every server appends to them."""
        for log in self._logs:
            if log.exists():
                os.truncate(log, 0)

    def wait_for(self, port: int) -> None:
        """Return once it accepts connections. Raises `BenchError` if it does not."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self.has_ended():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(POLL_SECONDS)
            else:
                return
        raise BenchError(f"it did not start: {self.messages()}")


@contextmanager
def running(
    command: Sequence[str],
    core: int,
    *,
    log: Path,
    logs: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """`command` on that core, its output appended to `log`. `logs` are further files that it writes."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            pinned(core, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            process_group=0,  # Ctrl-C is for us; then we end it
        )
    try:
        yield ServerProcess(process, [log, *logs])
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of those of its children that it has waited for; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS  # utime, stime, cutime, cstime


def memory_bytes(pid: int) -> int:
    """What is resident of a process, its share of what several share; 0 if it is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
