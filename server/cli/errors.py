"""What a command can fail with: one line that says what, one that says what to do next, and the exit code."""

from __future__ import annotations

FAILED = 1
USAGE = 2
BROKEN_URLS = 3
INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


class CliError(Exception):
    """Ends the command. `next_step` may be empty where there is nothing to advise."""

    def __init__(self, message: str, next_step: str = "", *, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code


class ApiError(CliError):
    """The control API refused. `status` is HTTP's, `code` the API's own (empty if it gave none)."""

    def __init__(self, message: str, next_step: str = "", *, status: int, code: str = "") -> None:
        super().__init__(message, next_step)
        self.status = status
        self.code = code
