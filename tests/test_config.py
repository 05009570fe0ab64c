"""Settings: where they come from, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.config import Address, ConfigError, Settings, describe, load_settings, parse_address


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a file, an environment without a setting."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SPACELANE_{name.upper()}", raising=False)


def test_flags_win_over_variables_and_those_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("spacelane.toml").write_text('workers = 2\nedge = ":1"\ncontrol = ":2"\n')
    monkeypatch.setenv("SPACELANE_EDGE", ":3")
    monkeypatch.setenv("SPACELANE_CONTROL", ":4")
    flags = {"control": ":5"}
    settings = load_settings(flags)
    assert (settings.workers, settings.edge.port, settings.control.port) == (2, 3, 5)
    sources = {name: source for name, _, source in describe(settings, flags)}
    assert sources["workers"] == "spacelane.toml"
    assert sources["edge"] == "SPACELANE_EDGE"
    assert sources["control"] == "--control"
    assert sources["data_dir"] == "default"


def test_a_named_file() -> None:
    Path("other.toml").write_text('platform_domains = ["pages.test", "Pages.test."]\n')
    assert load_settings(config_file=Path("other.toml")).platform_domains == ("pages.test",)


def test_lists_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACELANE_PLATFORM_DOMAINS", "a.test, b.test,")
    assert load_settings().platform_domains == ("a.test", "b.test")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("localhost:0", Address("localhost", 0)),
        (":80", Address("0.0.0.0", 80)),
        ("[::1]:80", Address("::1", 80)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(address) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "80", "a:", "a:b", "a:65536", "::1:80", "a:-1", "a:٣", "a..b:80", "a\0:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"edge \(from --edge\): is not HOST:PORT"):
        load_settings({"edge": text})


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"workers": "many"}, "workers (from --workers): input should be a valid integer"),
        ({"workers": -1}, "workers (from --workers): input should be greater than or equal to 0"),
        ({"platform_domains": []}, "platform_domains (from --platform-domain): is empty"),
        ({"platform_domains": ["a b"]}, "platform_domains (from --platform-domain): 'a b' is not a domain"),
        ({"platform_domains": ["c..d"]}, "'c..d' is not a domain"),
        ({"platform_domains": ["http://x"]}, "'http://x' is not a domain"),
        ({"cache_bytes": "lots"}, "cache_bytes (from --cache-size)"),
        ({"root_key": "short"}, "root_key (from --root-key): is shorter than 8 characters"),
        ({"tls_cert": "cert.pem"}, "tls_cert and tls_key go together: give both or neither"),
        ({"log_level": "loud"}, "log_level (from --log-level): input should be 'debug', 'info'"),
    ],
)
def test_bad_values_are_named_with_their_source(flags: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("mysql://x/y", "is not postgresql://user:password@host/database"),
        ("postgres://x/y", "is not postgresql://"),
        ("garbage", "is not postgresql://"),
        ("sqlite://", "is not postgresql://"),
        ("postgresql://u:secret/x@host/db", "is not postgresql://"),
        ("postgresql://u:secret@x@host/db", "is not postgresql://"),
        ("postgresql://u:5/secret@host/db", "is not postgresql://"),
        ("postgresql://host/db?password=a#secret", "is not postgresql://"),
        ("postgresql://h:abc/x", "has a port that is no number"),
        ("postgresql://h:65536/x", "has a port that is no number"),
        ("postgresql://h/x?port=abc", "has a port that is no number"),
        ("postgresql://h/x?host=a:b", "has a port that is no number"),
    ],
)
def test_bad_database_urls(url: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"database_url": url})
    assert str(caught.value).startswith(f"database_url (from --database-url): {text}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@host/db", "postgresql://…@host/db"),
        ("postgresql+asyncpg://u@[::1]:5432/db", "postgresql://…@[::1]:5432/db"),
        ("postgresql://host/db?user=u&password=secret", "postgresql://host/db"),
        ("postgresql://u:secret@/db?host=/run/x:5433&sslmode=require", "postgresql://…@/db"),
        ("postgresql://host?port=5433", "postgresql://host"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
    ],
)
def test_database_urls(url: str, shown: str) -> None:
    settings = load_settings({"database_url": url})
    assert settings.database_url == url
    assert {name: value for name, value, _ in describe(settings)}["database_url"] == shown


def test_an_empty_database_url_is_none() -> None:
    assert load_settings({"database_url": ""}).database_url is None


def test_every_bad_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACELANE_WORKERS", "x")
    Path("spacelane.toml").write_text("colour = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "workers (from SPACELANE_WORKERS)" in str(caught.value)
    assert "colour (from spacelane.toml): no such setting" in str(caught.value)


def test_a_file_that_is_no_toml() -> None:
    Path("spacelane.toml").write_text("workers =")
    with pytest.raises(ConfigError, match=r"spacelane\.toml: is not TOML"):
        load_settings()


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(config_file=Path("absent.toml"))


def test_secrets_are_not_shown() -> None:
    flags = {"root_key": "a-long-enough-secret", "token_secrets": "n" * 32 + "," + "o" * 32}
    shown = {name: value for name, value, _ in describe(load_settings(flags), flags)}
    assert shown["root_key"] == "(secret)"
    assert shown["token_secrets"] == "(secret)"
    assert shown["cache_bytes"] == "128.0MiB"
    assert shown["platform_domains"] == "localhost"
    assert {value for _, value, _ in describe(load_settings())} >= {"(unset)"}


@pytest.mark.parametrize(
    ("text", "nearby"),
    [(":80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.1:80", "192.0.2.1:80")],
)
def test_what_one_calls_on_this_machine(text: str, nearby: str) -> None:
    assert str(parse_address(text).nearby) == nearby


def test_workers_may_be_one_a_core() -> None:
    assert load_settings({"workers": 0}).worker_count >= 1
    assert load_settings({"workers": 3}).worker_count == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [("short", "fewer than 32 characters"), ("", "has 0 secrets"), (",".join("abc" * 32), "has 96 secrets")],
)
def test_token_secrets_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, value: str, text: str) -> None:
    monkeypatch.setenv("SPACELANE_TOKEN_SECRETS", value)
    with pytest.raises(ConfigError, match=text) as caught:
        load_settings()
    assert "token_secrets (from SPACELANE_TOKEN_SECRETS)" in str(caught.value)


def test_token_secrets_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACELANE_TOKEN_SECRETS", f"{'n' * 32}, {'o' * 32}")
    secrets = load_settings().token_secrets
    assert secrets is not None
    assert [secret.get_secret_value() for secret in secrets] == ["n" * 32, "o" * 32]


def test_networks_and_the_file_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().data_connection_networks is None
    assert load_settings({"data_dir": Path("/data")}).credential_keys_file == Path("/data/credentials.keys")
    monkeypatch.setenv("SPACELANE_DATA_CONNECTION_NETWORKS", "10.0.0.0/8, fd00::/8")
    monkeypatch.setenv("SPACELANE_CREDENTIAL_KEYS", "/keys")
    settings = load_settings()
    assert settings.data_connection_networks == ("10.0.0.0/8", "fd00::/8")
    assert settings.credential_keys_file == Path("/keys")
    monkeypatch.setenv("SPACELANE_DATA_CONNECTION_NETWORKS", "10.0.0.1/8")
    with pytest.raises(ConfigError, match="'10.0.0.1/8' is not a network, such as 10.0.0.0/8"):
        load_settings()
