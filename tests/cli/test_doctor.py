"""`spacelane doctor`, check by check and as it is typed."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
from collections import namedtuple
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from server import doctor
from server.cli.doctor import _check_site, resolve
from server.config import Address, Settings, load_settings
from tests.cli.conftest import Run, make_tree
from tests.support.hosting import listening
from tests.support.process import Serve

Usage = namedtuple("Usage", "total used free")
DAY = 86_400


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data_dir": tmp_path / "data"})


def test_a_data_directory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_directory(settings).state == "warn"
    settings.data_dir.mkdir()
    assert doctor.check_directory(settings).state == "ok"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert doctor.check_directory(settings).state == "fail"


def test_keys_are_for_their_owner(settings: Settings) -> None:
    settings.data_dir.mkdir()
    for name, mode in (("root.key", 0o600), ("link.key", 0o640)):
        (settings.data_dir / name).write_text("secret")
        (settings.data_dir / name).chmod(mode)
    root, link = doctor.check_keys(settings)
    assert (root.state, link.state) == ("ok", "fail")
    assert f"chmod 600 {settings.data_dir / 'link.key'}" in link.next_step


@pytest.mark.parametrize(
    ("total", "free", "state"),
    [(10**12, 5 * 10**11, "ok"), (10**12, 5 * 10**10, "warn"), (10**9, 5 * 10**8, "warn"), (10**12, 10**7, "fail")],
)
def test_room_on_the_disk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, total: int, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(total, total - free, free))
    assert doctor.check_space(settings).state == state


def test_listeners() -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
        taken = doctor.check_listener("edge", Address("127.0.0.1", port), None)
        assert (taken.state, f":{port}" in taken.next_step) == ("fail", True)
        assert doctor.check_listener("edge", Address("0.0.0.0", port), f"http://127.0.0.1:{port}").state == "ok"
        assert doctor.check_listener("edge", Address("127.0.0.1", port), "http://127.0.0.1:1").state == "fail"
    assert doctor.check_listener("edge", Address("127.0.0.1", port), None).state == "ok"
    assert "an address of this machine" in doctor.check_listener("edge", Address("192.0.2.1", 80), None).next_step


def test_a_port_that_needs_a_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert "CAP_NET_BIND_SERVICE" in doctor.check_listener("edge", Address("127.0.0.1", 80), None).next_step


async def test_databases(settings: Settings) -> None:
    assert (await doctor.check_database(settings)).state == "warn"
    settings.data_dir.mkdir()
    (settings.data_dir / "spacelane.db").touch()
    assert (await doctor.check_database(settings)).state == "fail"  # nobody has migrated it
    nowhere = settings.model_copy(update={"database_url": "postgresql://127.0.0.1:1/x"})
    assert (await doctor.check_database(nowhere)).state == "fail"


@pytest.mark.parametrize(("days", "state"), [(-1, "fail"), (0, "ok"), (380, "warn"), (400, "fail")])
def test_certificates(settings: Settings, tmp_path: Path, days: int, state: str) -> None:
    now = datetime.now(UTC).timestamp()
    assert doctor.check_certificate(settings, now).state == "ok"
    path = tmp_path / "cert.pem"
    issued = trustme.CA().issue_cert("a.example", not_after=datetime.fromtimestamp(now + 390 * DAY, UTC))
    issued.cert_chain_pems[0].write_to_path(path)
    with_tls = settings.model_copy(update={"tls_cert": path})
    when = now + days * DAY if days >= 0 else 0.0
    assert doctor.check_certificate(with_tls, when).state == state
    path.write_text("no certificate")
    assert doctor.check_certificate(with_tls, when).state == "fail"


@pytest.mark.parametrize(
    ("ahead", "kept", "state"),
    [
        (None, None, "ok"),
        (1.0, None, "ok"),
        (0.0, True, "ok"),
        (0.0, False, "warn"),
        (3.0, True, "fail"),
        (-3.0, None, "fail"),
    ],
)
def test_clocks(ahead: float | None, kept: bool | None, state: str) -> None:
    assert doctor.check_clock(ahead, kept=kept).state == state


def test_whether_the_clock_is_kept_can_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.is_clock_kept() in (True, False, None)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert doctor.is_clock_kept() is None


def site(dns: str = "found", addresses: tuple[str, ...] = ("192.0.2.1",), **facts: Any) -> Mapping[str, Any]:
    usual = {
        "domain": "a.example",
        "dns": {"state": dns, "addresses": list(addresses)},
        "certificate": {"state": "none", "expiresAt": None},
        "index": {"path": "index.html", "exists": True},
        "problems": [],
        "unlisted": 0,
    }
    return usual | facts


@pytest.mark.parametrize(
    ("state", "here", "found"),
    [
        (site(), frozenset({"192.0.2.1", "::1"}), ["dns ok"]),
        (site(), None, ["dns ok"]),
        (site(), frozenset({"192.0.2.2"}), ["dns warn"]),
        (site(), frozenset(), ["dns warn"]),
        (site("missing", ()), frozenset(), ["dns fail"]),
        (site("unknown", ()), None, ["dns warn"]),
        (site(certificate={"state": "expired", "expiresAt": "2026-01-01"}), None, ["dns ok", "certificate fail"]),
        (
            site(index={"path": "index.html", "exists": False}, problems=[{}]),
            None,
            ["dns ok", "site warn", "rules warn"],
        ),
    ],
)
def test_sites(state: Mapping[str, Any], here: frozenset[str] | None, found: list[str]) -> None:
    assert [f"{each.check} {each.state}" for each in _check_site(state, here)] == found


def test_what_is_looked_up_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        if name == "gone.example":
            raise socket.gaierror
        return [(2, 1, 6, "", ("192.0.2.1", 0))] * 2

    monkeypatch.setattr(socket, "getaddrinfo", find)
    assert (resolve("*.a.example"), resolve("a.localhost")) == (None, None)
    assert resolve("gone.example") == frozenset()
    assert resolve("a.example") == frozenset({"192.0.2.1"})


@pytest.mark.slow
def test_doctor(run: Run, at: list[str], server: Serve, tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "s", {"page.html": "x"})
    run("deploy", folder, "--domain", "ill.localhost", *at)
    code, out, err = run("doctor", *at)
    assert (code, "0 failures" in err) == (0, True)
    checks = [line.split()[:2] for line in out.splitlines() if line[0] != " "]
    assert checks[0] == ["ok", "data"]
    assert {"keys", "disk", "edge", "control", "database", "certificate", "clock", "server", "dns"} <= {
        check for _, check in checks
    }
    assert "ill.localhost: index.html is not there" in out
    answer = json.loads(run("doctor", "--json", "--sites", "0", *at)[1])
    assert answer["ok"] is True
    assert set(answer["findings"][0]) == {"check", "state", "words", "next"}
    assert "dns" not in {finding["check"] for finding in answer["findings"]}
    code, out, _ = run("doctor", "--url", server.control, "--key", "sk-wrong")
    assert (code, "fail  key" in out) == (1, True)


@pytest.mark.slow
def test_nothing_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACELANE_CONTROL", "127.0.0.1:1")
    monkeypatch.setenv("SPACELANE_EDGE", "127.0.0.1:0")
    code, out, _ = run("doctor")
    assert code == 0 or "control" in out
    assert "no server has written" in out
    assert "none answers" in run("doctor", "--key", "sk-x")[1]
    monkeypatch.setattr("server.cli.transport.is_local", lambda url: False)
    remote = run("doctor", "--url", "http://127.0.0.1:1/", "--key", "sk-x", "--json")
    assert {finding["check"] for finding in json.loads(remote[1])["findings"]} == {"clock", "server"}
