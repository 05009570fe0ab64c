"""lighttpd: the smallest of the well-known servers, and the nearest to the metal."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers.base import Place, ask_version, fill, find_program
from benchmarks.processes import BenchError, ServerProcess, running


class Lighttpd:
    name = "lighttpd"
    title = "lighttpd"

    def find_version(self) -> str | None:
        return ask_version("lighttpd", "-v")

    @contextmanager
    def start(self, place: Place) -> Iterator[ServerProcess]:
        program = find_program("lighttpd")
        assert program is not None
        (place.directory / "deflate").mkdir()
        config = place.directory / "lighttpd.conf"
        config.write_text(configure(place))
        logs = [place.access_log, place.directory / "error.log"]
        command = [program, "-D", "-f", str(config)]
        with running(command, place.core, log=place.directory / "output.log", logs=logs) as server:
            server.wait_for(place.port)
            yield server


def configure(place: Place) -> str:
    """The configuration file's text. A host's folder is found by its name: conditions would be tried one by one."""
    setting, corpus = place.setting, place.corpus
    if setting.http2 and not setting.tls:
        raise BenchError("lighttpd is compared over TLS only")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    modules, more = [], []
    if setting.hosts:
        modules.append("mod_evhost")
        more.append(f'evhost.path-pattern = "{corpus.many}/%_/"')
    if setting.tls:
        modules.append("mod_openssl")
        more += [
            'ssl.engine = "enable"',
            f'ssl.pemfile = "{place.certificate.chain}"',
            f'ssl.privkey = "{place.certificate.key}"',
            'ssl.openssl.ssl-conf-cmd = ("MinProtocol" => "TLSv1.3")',
            f'server.feature-flags = ("server.h2proto" => "{"enable" if setting.http2 else "disable"}")',
        ]
    return fill(
        "lighttpd.conf",
        {
            "modules": "".join(f', "{module}"' for module in modules),
            "port": place.port,
            "root": corpus.static,
            "directory": place.directory,
            "access_log": place.access_log,
            "files": files,
            "connections": files // 2,
            "more": "\n".join(more),
        },
    )
