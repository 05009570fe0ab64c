"""On what was measured, and with what: so that a figure can be judged, and had again."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.generator import COMPILER
from benchmarks.network import congestion_control
from benchmarks.peers.base import ask_version
from benchmarks.processes import cores

ROOT = Path(__file__).resolve().parent.parent


def describe_machine() -> dict[str, str]:
    """What to know of a run, before it begins."""
    server, client = cores()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": f"{os.cpu_count()}; the server on {server}, the client on {client}",
        "load average before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": platform.release(),
        "congestion control": congestion_control(),
        "python": f"{platform.python_version()}, {Path(sys.executable).resolve()}",
        "wrk": ask_version("wrk", "-v") or "not installed",
        "C compiler": ask_version(COMPILER, "--version") or "not installed",
        "h2load": ask_version("h2load", "--version") or "not installed",
    }


def cpu_model(cpuinfo: str) -> str:
    """As the kernel names it."""
    found = re.search(r"model name\s*: (.*)", cpuinfo)
    return found[1].strip() if found else platform.machine()


def commit() -> str:
    """Of the source, and whether it was changed since; `unknown` outside of a repository."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
