"""All of them, ourselves first and then the reference."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.peers.caddy import Caddy
from benchmarks.peers.lighttpd import Lighttpd
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.python import STARLETTE, WHITENOISE
from benchmarks.peers.spacelane import Spacelane

OURS = Spacelane.name
REFERENCE = Nginx.name
PEERS: tuple[Peer, ...] = (Spacelane(), Nginx(), Lighttpd(), Caddy(), STARLETTE, WHITENOISE)
