"""Fixtures every test may use."""

from __future__ import annotations

from hypothesis import settings

# Examples are timed by the clock on the wall, which on a busy machine says nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["tests.support.postgres", "tests.support.tls"]
