"""The HTTP/2 door."""
