"""Credentials at rest, and the rotation of what encrypts them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from server.root_key import RootKeyError
from server.vault import Vault, make_keys, read_keys, rotate
from storage.errors import Corrupt
from storage.memory import MemoryMetadata
from storage.widgets import NewWidget


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.keys"
    make_keys(path)
    return path


def test_the_file_is_made_once_and_is_the_operators_own(path: Path) -> None:
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make_keys(path)
    assert path.read_bytes() == before
    assert len(read_keys(path)) == 1


@pytest.mark.parametrize("text", ["", "no key", "c2hvcnQ=", "é"])
def test_a_file_that_holds_no_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.keys"
    path.write_text(text)
    with pytest.raises(RootKeyError):
        make_keys(path)
    with pytest.raises(Corrupt, match="cannot be read"):
        Vault(path).seal("x", "site", "kind")


def test_what_is_sealed_is_for_one_site_and_kind(path: Path) -> None:
    vault = Vault(path)
    sealed = vault.seal({"password": "secret"}, "siteid01", "data_connection")
    assert "secret" not in sealed
    assert vault.open(sealed, "siteid01", "data_connection") == {"password": "secret"}
    for site_id, kind in (("siteid02", "data_connection"), ("siteid01", "oauth_connections")):
        with pytest.raises(Corrupt, match="another's"):
            vault.open(sealed, site_id, kind)
    with pytest.raises(Corrupt, match="key that is not there"):
        vault.open("tampered", "siteid01", "data_connection")
    with pytest.raises(Corrupt, match="key that is not there"):
        Vault().renew(sealed)


def test_without_a_file_a_key_goes_with_the_vault() -> None:
    vault = Vault()
    assert vault.open(vault.seal([1], "s", "k"), "s", "k") == [1]
    with pytest.raises(Corrupt):
        Vault().open(vault.seal([1], "s", "k"), "s", "k")


def test_a_file_that_is_gone(path: Path) -> None:
    vault = Vault(path)
    path.unlink()
    with pytest.raises(Corrupt, match="cannot be read"):
        vault.seal("x", "s", "k")


async def make_store(vault: Vault, count: int) -> tuple[MemoryMetadata, list[str]]:
    store = MemoryMetadata()
    await store.put_workspace("acme", "Acme")
    names = [f"siteid{number:02}" for number in range(count)]
    for name in names:
        sealed = vault.seal({"password": name}, name, "data_connection")
        await store.create_widget(
            NewWidget(
                workspace_id="acme",
                site_id=name,
                domain=f"{name}.example",
                business_name=name,
                settings={},
                secrets={"data_connection": sealed},
            )
        )
    return store, names


async def test_a_rotation_under_a_running_server(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.vault.AT_ONCE", 2)
    running = Vault(path)
    store, names = await make_store(running, 5)
    first = read_keys(path)
    old = await store.list_secrets(("", ""), 10)
    assert await rotate(path, store) == 5
    second = read_keys(path)
    assert len(second) == 2
    assert second[1:] == first
    new = await store.list_secrets(("", ""), 10)
    for name, secret, before in zip(names, new, old, strict=True):
        assert secret.sealed != before.sealed
        assert running.open(secret.sealed, name, "data_connection") == {"password": name}
    assert await rotate(path, store) == 5
    assert read_keys(path)[1] == second[0]
    with pytest.raises(Corrupt):  # its key has gone
        running.open(old[0].sealed, names[0], "data_connection")
    for name, secret in zip(names, await store.list_secrets(("", ""), 10), strict=True):
        assert running.open(secret.sealed, name, "data_connection") == {"password": name}


async def test_a_rotation_that_fails_loses_no_key(path: Path) -> None:
    store, _ = await make_store(Vault(), 1)
    before = read_keys(path)
    with pytest.raises(Corrupt):
        await rotate(path, store)
    assert read_keys(path)[1:] == before
    assert os.listdir(path.parent) == [path.name]
