"""What a process of the server is to do, and how its parent tells it."""

from __future__ import annotations

import json
import signal
import socket
from dataclasses import dataclass, replace

from server.config import Settings
from server.edge.preview_access import Previews

SERVING = b"serving\n"  # what a child says to its parent once it does its work
RETIRE = signal.SIGUSR1  # how a parent tells a child that its successor serves


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a process does: serve, or compress. Sockets are bound and listening; None: not this one's task."""

    settings: Settings
    edge: socket.socket | None = None
    control: socket.socket | None = None
    compress: bool = False
    root_key_hash: str = ""
    token_secrets: tuple[str, ...] = ()  # of the control API
    preview_keys: tuple[bytes, ...] = ()  # of passes to private previews
    slot: int = 0  # of the edge

    @property
    def name(self) -> str:
        """Of the process that does it."""
        if self.compress:
            return "compressor"
        return "control" if self.edge is None else f"worker-{self.slot}"

    @property
    def sockets(self) -> dict[str, socket.socket]:
        """Those it has, by field."""
        return {name: sock for name, sock in (("edge", self.edge), ("control", self.control)) if sock is not None}

    @property
    def previews(self) -> Previews:
        """Where they are, and what opens private ones."""
        settings = self.settings
        return Previews(
            platform_domains=settings.platform_domains, keys=self.preview_keys, secure=settings.tls_cert is not None
        )

    def dump(self) -> str:
        """One line of JSON; the sockets by their descriptors."""
        settings = self.settings.model_dump(mode="json", exclude={"root_key", "token_secrets"})
        settings.update(edge=str(self.settings.edge), control=str(self.settings.control))
        plain = {name: getattr(self, name) for name in ("compress", "root_key_hash", "token_secrets", "slot")}
        sockets = {name: sock.fileno() for name, sock in self.sockets.items()}
        keys = [key.hex() for key in self.preview_keys]
        return json.dumps({"settings": settings, "sockets": sockets, "preview_keys": keys, **plain})

    @classmethod
    def load(cls, text: str) -> Task:
        """What `dump` wrote, in a process that has inherited the descriptors."""
        data = json.loads(text)
        sockets = {name: socket.socket(fileno=number) for name, number in data.pop("sockets").items()}
        settings = Settings(**data.pop("settings"))
        data["token_secrets"] = tuple(data["token_secrets"])
        data["preview_keys"] = tuple(map(bytes.fromhex, data["preview_keys"]))
        return cls(settings=settings, edge=sockets.get("edge"), control=sockets.get("control"), **data)


def compressor(task: Task) -> Task:
    """The part of a server's work that is done behind everybody's back."""
    return replace(task, edge=None, control=None, token_secrets=(), preview_keys=(), compress=True)
