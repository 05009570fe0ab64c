"""Caddy: what many choose today, and the one that also takes domains while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.corpus import DOMAIN
from benchmarks.peers.base import Place, ask_version, fill, find_program
from benchmarks.processes import ServerProcess, running


class Caddy:
    name = "caddy"
    title = "Caddy"

    def find_version(self) -> str | None:
        return ask_version("caddy", "version")

    @contextmanager
    def start(self, place: Place) -> Iterator[ServerProcess]:
        program = find_program("caddy")
        assert program is not None
        config = place.directory / "Caddyfile"
        config.write_text(configure(place))
        command = [program, "run", "--config", str(config), "--adapter", "caddyfile"]
        own = {name: str(place.directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        log = place.directory / "output.log"
        with running(command, place.core, log=log, logs=[place.access_log], environment=own) as server:
            server.wait_for(place.port)
            yield server


def configure(place: Place) -> str:
    """The configuration file's text. All hosts share one block, which Caddy searches by halves; one block for each it
    would try in turn, and need minutes to read."""
    setting = place.setting
    scheme = "https" if setting.tls else "http"
    names = place.corpus.host_names(setting.hosts) if setting.hosts else [DOMAIN]
    return fill(
        "Caddyfile",
        {
            "http2": " h2" * setting.http2,
            "roots": f"{place.corpus.many}/{{host}}" if setting.hosts else place.corpus.static,
            "tls": f"tls {place.certificate.chain} {place.certificate.key}" if setting.tls else "",
            "access_log": place.access_log,
            "hosts": ", ".join(f"{scheme}://{name}:{place.port}" for name in names),
        },
    )
