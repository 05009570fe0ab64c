"""How long the fuzzing goes on, and what holds for every answer.

Normally it takes seconds and is the same each time; `FUZZ_SECONDS=600` looks for what nobody has thought of, so long in
all.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from hypothesis import HealthCheck, settings

from tests.support.wire import Answer

TESTS = 4  # that share the time
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
PROFILE = settings(
    max_examples=1000 if SECONDS else 200,
    derandomize=not SECONDS,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

FAILURES_THAT_ARE_NONE = (501, 505)  # what is asked for is not spoken here
FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
FIELD_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")


def repeat(check: Callable[[], None]) -> None:
    """Once or, each time with other examples, for this test's part of the time."""
    end = time.monotonic() + SECONDS / TESTS
    check()
    while time.monotonic() < end:
        check()


def check_form(answer: Answer) -> None:
    """No failure of ours, and headers that nobody can misread."""
    assert answer.status < 500 or answer.status in FAILURES_THAT_ARE_NONE
    for name, value in answer.headers:
        assert FIELD_NAME.fullmatch(name)
        assert FIELD_VALUE.fullmatch(value)
