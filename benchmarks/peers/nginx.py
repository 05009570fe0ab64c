"""nginx: the reference that everything is compared with."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.corpus import DOMAIN
from benchmarks.peers.base import Place, ask_version, fill, find_program
from benchmarks.processes import ServerProcess, running

BROTLI = Path("/usr/lib/nginx/modules/ngx_http_brotli_static_module.so")
MIME_TYPES = Path("/etc/nginx/mime.types")


class Nginx:
    name = "nginx"
    title = "nginx"

    def find_version(self) -> str | None:
        return ask_version("nginx", "-v")

    @contextmanager
    def start(self, place: Place) -> Iterator[ServerProcess]:
        program = find_program("nginx")
        assert program is not None
        config = place.directory / "nginx.conf"
        config.write_text(configure(place))
        command = [program, "-c", str(config), "-p", str(place.directory)]
        logs = [place.access_log, place.directory / "error.log"]
        with running(command, place.core, log=place.directory / "output.log", logs=logs) as server:
            server.wait_for(place.port)
            yield server


def configure(place: Place) -> str:
    """The configuration file's text."""
    setting = place.setting
    if setting.hosts:
        roots = {host: place.corpus.many / host for host in place.corpus.host_names(setting.hosts)}
    else:
        roots = {DOMAIN: place.corpus.static}
    options = " ssl" * setting.tls + " http2" * setting.http2
    servers = (
        fill(
            "nginx_server.conf",
            {
                "name": name,
                "root": root,
                "port": place.port,
                # Those of a socket may be given once only. Deferred: a new connection costs 11.7 µs, not 14.8.
                "listen_options": options + (" backlog=4096 deferred" if number == 0 else ""),
                "codings": f"gzip_static on; {'brotli_static on;' if BROTLI.exists() else ''}",
            },
        )
        for number, (name, root) in enumerate(roots.items())
    )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return fill(
        "nginx.conf",
        {
            "load_modules": f"load_module {BROTLI};" if BROTLI.exists() else "",
            "user": "user root;" if os.geteuid() == 0 else "",  # the files are ours, and root's if we are root
            "files": files,
            "connections": files,
            "open_files": 1000 + setting.hosts,
            "directory": place.directory,
            "access_log": place.access_log,
            "mime_types": MIME_TYPES,
            "names_hash": max(512, 4 * setting.hosts),
            "tls": _tls(place) if setting.tls else "",
            "servers": "".join(servers),
        },
    )


def _tls(place: Place) -> str:
    certificate = place.certificate
    return f"""ssl_certificate {certificate.chain};
    ssl_certificate_key {certificate.key};
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:tls:10m;"""
