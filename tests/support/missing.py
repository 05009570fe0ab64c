"""Programs that some tests need and not every machine has."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(name: str, package: str) -> NoReturn:
    """Skip the test; under CI=true, where .ci/run has installed everything, fail it."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no {name}: apt-get install {package}")
