"""`spacelane keys rotate`, beside a running server."""

from __future__ import annotations

from pathlib import Path

from server.vault import read_keys
from tests.cli.conftest import Run
from tests.support.process import Serve

SITE = {
    "business_name": "Ember & Oak",
    "domain": "emberandoak.com",
    "data_connection": {"type": "postgres", "host": "10.0.0.1", "database": "d", "user": "u", "password": "p"},
}


def test_credentials_are_encrypted_anew(server: Serve, run: Run) -> None:
    made = server.api.post("/v1/sites", json=SITE).json()["data"]
    before = read_keys(server.data_dir / "credentials.keys")
    code, out, err = run("keys", "rotate", "--data-dir", server.data_dir)
    assert (code, err) == (0, "")
    assert out.startswith("1 secret encrypted with a new key")
    assert read_keys(server.data_dir / "credentials.keys")[1:] == before
    tested = server.api.post(f"/v1/sites/{made['site_id']}/test-connection").json()["data"]
    assert "10.0.0.1" in tested["error"]  # so it could be read


def test_where_no_server_has_been(run: Run, tmp_path: Path) -> None:
    code, _, err = run("keys", "rotate", "--data-dir", tmp_path / "none")
    assert code == 1
    assert "no server has made it yet" in err
