"""`spacelane demo` as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LAST_LINE = "Ctrl-C"  # how the last line begins that it prints when it serves


@dataclass(frozen=True)
class Demo:
    """A demo that serves: what it printed, and its ports."""

    said: str
    edge: int
    control: int


@contextmanager
def running_demo(directory: Path) -> Iterator[Demo]:
    """A demo started in `directory` on ports of its own; it ends, and well, with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "server", "demo", "--edge", "127.0.0.1:0", "--control", "127.0.0.1:0"],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if not name.startswith("SPACELANE_")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if line.startswith(LAST_LINE):
                    break
            edge = re.search(r"http://demo\.localhost:(\d+)/", said)
            control = re.search(r"http://127\.0\.0\.1:(\d+)/docs", said)
            assert edge, said
            assert control, said
            yield Demo(said, int(edge[1]), int(control[1]))
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
