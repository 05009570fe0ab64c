"""The `spacelane` command: serves, publishes, makes keys."""

from __future__ import annotations

from server.cli.app import main

__all__ = ["main"]
