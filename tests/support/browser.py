"""Chromium driven by Playwright, for what takes a keyboard and a look through shadow roots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.support.chromium import resolver_rules
from tests.support.missing import missing

SECONDS = 20  # before something that a page is to do is taken not to happen


@contextmanager
def browser(port: int) -> Iterator[Browser]:
    """A new browser, to which every name under .test is 127.0.0.1:`port` and no other name exists.

    Skips the test where it is not installed.
    """
    program = shutil.which("chromium") or missing("Chromium", "chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program,
            # No sandbox can be made as root in a container; all that it loads is ours.
            args=["--no-sandbox", "--disable-quic", "--no-proxy-server", resolver_rules(port)],
        )
        try:
            yield opened
        finally:
            opened.close()
