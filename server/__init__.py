"""Spacelane: a static-site edge server and domain router."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("spacelane")
