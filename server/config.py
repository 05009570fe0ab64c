"""Settings: flags, then `SPACELANE_*` variables, then `spacelane.toml`, validated once at start.

`load_settings` answers with values that are all good or raises one `ConfigError` that names every bad setting, where it
came from and what would be right.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from server.token_secrets import find_problem

ENV_PREFIX = "SPACELANE_"
CONFIG_FILE = "spacelane.toml"
KEYS_FILE = "credentials.keys"  # in the data directory
MIN_ROOT_KEY = 8  # characters; enough to catch an empty or mistaken variable, the text asks for far more
FLAGS = {"platform_domains": "--platform-domain", "cache_bytes": "--cache-size"}  # others: the field's name
_WEB_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
# Stricter than the database's own reader, so that there is no doubt where a password ends.
_POSTGRES = re.compile(
    r"(postgresql)(?:\+\w+)?://([^@/?#]*@)?(\[[^]@/?#]*\]|[^]:@/?#[]*)(:[^@/?#]*)?(/[^@/?#]*)?(?:\?([^#]*))?", re.ASCII
)
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///[^?]+", re.ASCII)


class ConfigError(Exception):
    """A setting cannot be used; the text names it, its source and what would be right."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `host` without brackets; port 0 lets the system choose."""

    host: str
    port: int

    @property
    def nearby(self) -> Address:
        """What one calls on this machine: loopback where `host` stands for every interface."""
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """`HOST:PORT`, `[IPv6]:PORT` or `:PORT` (every interface)."""
    if isinstance(value, Address):
        return value
    host, colon, port = str(value).rpartition(":")
    if not colon or not _is_port(port) or (":" in host and host[0] != "[") or not _is_host(host):
        raise ValueError("is not HOST:PORT, such as 127.0.0.1:8080")
    return Address(host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 65536


def _is_host(text: str) -> bool:
    """Whether the resolver can be asked for it: otherwise it would fail only once the server starts."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return "\0" not in text


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _domain(value: str) -> str:
    domain = value.strip().lower().removesuffix(".")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{value!r} is not a domain, such as pages.example.com")
    return domain


def _check_database_url(url: str) -> None:
    """Its form; the options behind the `?` are the store's. The errors do not repeat what may hold a password."""
    if _SQLITE.fullmatch(url):
        return
    match = _POSTGRES.fullmatch(url)
    if not match:
        raise ValueError(
            "is not postgresql://user:password@host/database (in user and password, write @ / ? # as %40 %2F %3F %23)"
        )
    *_, port, _, query = match.groups(default="")
    ports = [port[1:]] if port else []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "port" or (name == "host" and ":" in value):
            ports.append(value.rpartition(":")[2])
    if not all(map(_is_port, ports)):
        raise ValueError("has a port that is no number from 0 to 65535")


ListenAddress = Annotated[Address, BeforeValidator(parse_address)]
DomainList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
NetworkList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_commas)]


class Settings(BaseSettings):
    """Every setting of `spacelane serve`. The descriptions are what `--help` and the documentation say."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, validate_default=True)

    data_dir: Path = Field(
        default=Path(".spacelane"),
        description="Directory of everything kept: the database, the files' contents, the first key. Made if absent.",
    )
    edge: ListenAddress = Field(default=Address("127.0.0.1", 8080), description="HOST:PORT that answers visitors.")
    control: ListenAddress = Field(
        default=Address("127.0.0.1", 8081), description="HOST:PORT of the control API; keep it private."
    )
    workers: int = Field(default=1, ge=0, le=256, description="Edge processes; 1: all in one process, 0: one a core.")
    platform_domains: DomainList = Field(
        default=("localhost",), description="Domains under which a site may take one label."
    )
    widget_url: str | None = Field(
        default=None,
        description="Where browsers find the site widget, such as https://widget.example.com; unset: `widget.` and the"
        " first of `platform_domains`, at the edge's port.",
    )
    database_url: str | None = Field(
        default=None,
        description="postgresql://… for PostgreSQL; unset: SQLite in the data directory.",
    )
    http_server: Literal["uvicorn", "hypercorn"] = Field(
        default="uvicorn",
        description="What answers visitors: uvicorn with protocols of our own, hardened, or hypercorn, which is not.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="PEM file of a certificate with its chain: visitors are then answered over TLS only.",
    )
    tls_key: Path | None = Field(default=None, description="PEM file of the certificate's private key.")
    root_key: SecretStr | None = Field(
        default=None, description="A secret accepted as a full key, for containers and scripts; unset: one is made."
    )
    token_secrets: SecretList | None = Field(
        default=None,
        description="What tokens are signed with, and behind a comma what they were before; unset: one is made.",
    )
    credential_keys: Path | None = Field(
        default=None,
        description="File of the keys that encrypt sites' credentials; unset: one is made in the data directory.",
    )
    data_connection_networks: NetworkList | None = Field(
        default=None, description="Private networks that sites' data may be in, such as 10.0.0.0/8; unset: none."
    )
    cache_bytes: ByteSize = Field(
        default=ByteSize(128 * 1024 * 1024),
        ge=0,
        description="Memory for cached responses in each worker.",
    )
    max_file_bytes: ByteSize = Field(
        default=ByteSize(5 * 1024**3), ge=1, description="The largest file that may be uploaded, such as 5GiB."
    )
    max_archive_bytes: ByteSize = Field(
        default=ByteSize(1024**3), ge=1, description="The largest archive that may be uploaded as a deployment."
    )
    max_unpacked_bytes: ByteSize = Field(
        default=ByteSize(5 * 1024**3), ge=1, description="Bytes that the files of such an archive may have together."
    )
    access_log: str = Field(
        default="access.log",
        min_length=1,
        description="File of a line for each answer, relative to `data_dir`; `-`: standard output, `off`: none.",
    )
    access_log_format: Literal["json", "combined"] = Field(
        default="json", description="json: an object a line; combined: as Apache and nginx write it."
    )
    requests_per_minute: int = Field(
        default=60_000, ge=0, description="API calls a minute of one key and the tokens it made; 0: no limit."
    )
    bad_credentials_per_minute: int = Field(
        default=100, ge=1, description="Bad keys and tokens from one address, before it has to wait."
    )
    audit_days: int = Field(default=365, ge=1, description="Days for which the audit log is kept.")
    deployments_kept: int = Field(
        default=100, ge=0, description="Deployments of each space that are kept, however old they are."
    )
    deployment_days: int = Field(
        default=90, ge=1, description="Days for which older ones are kept, and what files held before."
    )
    skew_minutes: int = Field(
        default=60,
        ge=0,
        le=24 * 60 * 7,
        description="Minutes for which scripts, styles, fonts and images that a deployment removes are still served.",
    )
    blob_grace_hours: int = Field(
        default=24, ge=1, le=24 * 366, description="Hours for which contents that nothing refers to are kept."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="How much is logged.")

    @field_validator("platform_domains")
    @classmethod
    def _check_domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("is empty: name at least one domain, such as localhost")
        return tuple(dict.fromkeys(_domain(domain) for domain in value))

    @field_validator("data_connection_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for network in value or ():
            try:
                ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is not a network, such as 10.0.0.0/8 or fd00::/8") from None
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: str | None) -> str | None:
        if value:
            _check_database_url(value)
        return value or None

    @field_validator("widget_url")
    @classmethod
    def _check_widget_url(cls, value: str | None) -> str | None:
        if value and not _WEB_ORIGIN.fullmatch(value):
            raise ValueError("is not http:// or https:// with a host and at most a port, without a path")
        return value or None

    @field_validator("root_key")
    @classmethod
    def _check_root_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_ROOT_KEY:
            raise ValueError(f"is shorter than {MIN_ROOT_KEY} characters: use what `openssl rand -hex 32` prints")
        return value

    @field_validator("token_secrets")
    @classmethod
    def _check_token_secrets(cls, value: tuple[SecretStr, ...] | None) -> tuple[SecretStr, ...] | None:
        if value is not None and (problem := find_problem([secret.get_secret_value() for secret in value])):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: give both or neither")
        return self

    @property
    def visitors(self) -> str:
        """The edge's address as a URL."""
        return f"{'https' if self.tls_cert else 'http'}://{self.edge}"

    @property
    def widget_hosts(self) -> tuple[str, ...]:
        """The platform's own hosts for the site widget."""
        return tuple(f"widget.{domain}" for domain in self.platform_domains)

    @property
    def widget_base(self) -> str:
        """The URL of one of them, as pages of hosted sites name it; without a scheme it is that of the page."""
        if self.widget_url is not None:
            return self.widget_url
        port = "" if self.edge.port in (80, 443) else f":{self.edge.port}"
        return f"//{self.widget_hosts[0]}{port}"

    @property
    def worker_count(self) -> int:
        """`workers`, with 0 resolved to the number of cores this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def credential_keys_file(self) -> Path:
        """`credential_keys`, or where they are made."""
        return self.credential_keys or self.data_dir / KEYS_FILE

    @property
    def grace_seconds(self) -> float:
        """`blob_grace_hours` in seconds."""
        return self.blob_grace_hours * 3600.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` merged: it has to know each value's source."""
        return (init_settings,)


def load_settings(flags: Mapping[str, object] | None = None, *, config_file: Path | None = None) -> Settings:
    """The settings in force. `flags` by field name; those absent fall to the environment, then to the file.

    The file is `config_file`, or else `spacelane.toml` in the working directory if there is one.
    """
    values, sources = _gather(flags or {}, config_file)
    try:
        return Settings(**values)
    except ValidationError as exc:
        problems = (_explain(dict(error), sources) for error in exc.errors())
        raise ConfigError("\n".join(dict.fromkeys(problems))) from None


def describe(settings: Settings, flags: Mapping[str, object] | None = None) -> list[tuple[str, str, str]]:
    """(name, value, source) for each setting in force; a secret's value is not told."""
    _, sources = _gather(flags or {}, None)
    return [
        (name, _show(name, getattr(settings, name)), sources.get(name, "default")) for name in Settings.model_fields
    ]


def _gather(flags: Mapping[str, object], config_file: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    path = config_file or Path(CONFIG_FILE)
    values: dict[str, Any] = _read_file(path) if config_file or path.exists() else {}
    sources = dict.fromkeys(values, str(path))
    for name in Settings.model_fields:
        variable = ENV_PREFIX + name.upper()
        if variable in os.environ:
            values[name], sources[name] = os.environ[variable], variable
    for name, value in flags.items():
        values[name], sources[name] = value, FLAGS.get(name, f"--{name.replace('_', '-')}")
    return values, sources


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: is not TOML: {exc}") from exc


def _explain(error: dict[str, Any], sources: Mapping[str, str]) -> str:
    if not error["loc"]:  # of several settings together: the text names them
        return str(error["msg"]).removeprefix("Value error, ")
    name = str(error["loc"][0])
    where = sources.get(name, "default")
    if error["type"] == "extra_forbidden":
        return f"{name} (from {where}): no such setting; see `spacelane serve --help`"
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"{name} (from {where}): {text[:1].lower()}{text[1:]}"


def _show(name: str, value: object) -> str:
    if name == "database_url" and (match := _POSTGRES.fullmatch(str(value))):
        scheme, user, host, port, database, _ = match.groups(default="")  # an option may be a password, too
        return f"{scheme}://{user and '…@'}{host}{port}{database}"
    match value:
        case None:
            return "(unset)"
        case SecretStr() | (SecretStr(), *_):
            return "(secret)"
        case ByteSize():
            return value.human_readable()
        case tuple():
            return ", ".join(str(part) for part in value)
        case _:
            return str(value)
