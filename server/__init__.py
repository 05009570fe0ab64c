"""Spacelane: a static-site edge server and domain router."""

from __future__ import annotations

__version__: str


def __getattr__(name: str) -> str:
    """`__version__`, looked up when somebody asks: that costs as much as all that `spacelane --help` needs besides."""
    if name == "__version__":
        from importlib.metadata import version

        return version("spacelane")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
