"""Doors: wire bytes to a `Request`, a `Response` to wire bytes, and no HTTP semantics in between."""
