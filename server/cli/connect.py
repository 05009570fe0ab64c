"""Where a command finds the control API and its key.

The address: `--url`, `SPACELANE_URL`, else the `control` setting of this machine. The key: `--key`, `SPACELANE_KEY`,
else, for a server on this machine only, its root key: the `root_key` setting or the file that the server wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from server.cli.errors import USAGE, CliError
from server.cli.transport import Endpoint, is_local
from server.config import Address, ConfigError, Settings, load_settings
from server.root_key import ROOT_KEY_FILE, RootKeyError, read_root_key

DEMO_DIR = "demo"  # below the data directory, so that trying the demo leaves nothing in the real one


@dataclass(frozen=True, slots=True)
class Connection:
    """An endpoint, and the settings of a server on this machine."""

    endpoint: Endpoint
    settings: Settings

    @property
    def usual_url(self) -> str:
        """Where a control API is unless somebody says otherwise."""
        return local_url(Settings.model_fields["control"].default)

    def visitors_url(self, domain: str, visitors: str | None) -> str:
        """Where a browser finds `domain`; `visitors` is the server's address as it says it, if it does."""
        here = self.settings.visitors if is_local(self.endpoint.url) else "http://elsewhere"
        address = urlsplit(visitors or here)
        return self.reachable(urlunsplit((address.scheme, f"{domain}:{address.port or 80}", "/", "", "")))

    def reachable(self, url: str) -> str:
        """`url`, which a server says of a page of its own, as a browser can have it.

        The port counts if the server is on this machine, or has the certificate: in front of another, which speaks no
        TLS, something may stand that does.
        """
        address = urlsplit(url)
        usual = address.port in (None, {"http": 80, "https": 443}.get(address.scheme))
        if usual or (address.scheme == "http" and not is_local(self.endpoint.url)):
            return urlunsplit(address._replace(netloc=address.hostname or ""))
        return url


def connect(url: str | None, key: str | None, data_dir: Path | None) -> Connection:
    """Each argument as the command line has it. Raises `CliError` if there is no key or a setting is bad."""
    settings = read_settings({"data_dir": data_dir} if data_dir else {})
    url = url or local_url(settings.control)
    if key:
        return Connection(Endpoint(url, key, "--key or SPACELANE_KEY"), settings)
    if not is_local(url):
        raise CliError(
            f"there is no key for {url}.",
            "Give one with --key or SPACELANE_KEY; on the server, `spacelane key create` makes them.",
            exit_code=USAGE,
        )
    return Connection(local_endpoint(url, settings), settings)


def read_settings(flags: dict[str, object]) -> Settings:
    """The settings in force. Raises `CliError` for a bad one."""
    try:
        return load_settings(flags)
    except ConfigError as exc:
        raise CliError(str(exc), "`spacelane serve --help` explains each setting.", exit_code=USAGE) from exc


def local_endpoint(url: str, settings: Settings) -> Endpoint:
    """The endpoint of this machine's server at `url`, with its root key: configured, or kept in its data directory.

    A data directory without one may hold the demo's.
    """
    if settings.root_key:
        return Endpoint(url, settings.root_key.get_secret_value(), "the root_key setting")
    places = (settings.data_dir / ROOT_KEY_FILE, settings.data_dir / DEMO_DIR / ROOT_KEY_FILE)
    path = next((path for path in places if path.exists()), places[0])
    try:
        return Endpoint(url, read_root_key(path), str(path))
    except FileNotFoundError as exc:
        raise CliError(
            f"there is no key: none was given, and no server has written {path} yet.",
            "Start a server with `spacelane serve`, say where it keeps its data with --data-dir, or give --key.",
            exit_code=USAGE,
        ) from exc
    except RootKeyError as exc:
        raise CliError(
            f"{exc}.", "Delete it and start the server again, which makes a new one; or give --key or SPACELANE_KEY."
        ) from exc
    except OSError as exc:
        raise CliError(
            f"{path} cannot be read: {exc.strerror}.",
            "Run as the user that runs the server, or give another key with --key or SPACELANE_KEY.",
        ) from exc


def local_url(address: Address) -> str:
    """The URL of a listener of this machine."""
    return f"http://{address.nearby}"
