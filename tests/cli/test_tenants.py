"""`workspace …`, `key list` and `key revoke` against a running server."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Run
from tests.support.process import Serve

pytestmark = pytest.mark.slow


def test_a_tenant_from_creation_to_the_end_of_its_key(run: Run, at: list[str], server: Serve) -> None:
    options = ("--alias", "acme", "--name", "Acme \x1b[31m", "--max-sites", "1", "--max-files", "5")
    code, out, err = run("workspace", "create", *options, *at)
    assert (code, out[:10]) == (0, "workspace_")
    assert "spacelane key create --workspace acme" in err
    code, out, _ = run("workspace", "list", *at)
    (line,) = [line for line in out.splitlines() if " acme " in line]
    assert line.endswith("Acme \\x1b[31m  maxSites 1, maxFiles 5")
    assert any(line.split()[-2:] == ["default", "none"] for line in out.splitlines())

    code, out, _ = run("key", "create", "--workspace", "acme", "--name", "ci", "--scope", "spaces:write", *at)
    secret = out.strip()
    assert code == 0
    code, out, _ = run("key", "list", "--workspace", "acme", "--json", *at)
    (key,) = map(json.loads, out.splitlines())
    assert (key["name"], key["scopes"]) == ("ci", ["spaces:write"])
    assert secret not in out
    code, out, _ = run("key", "list", "--workspace", "acme", *at)
    assert out.splitlines()[1].split() == [key["id"], "ci", "spaces:write", "never", "used"]

    assert run("key", "revoke", key["id"], *at)[0] == 0
    _, out, _ = run("key", "list", "--workspace", "@acme", *at)
    assert "revoked 20" in out
    refusal = server.api.post("/api/v1/space/create", json={}, headers={"authorization": f"Bearer {secret}"})
    assert refusal.status_code == 401


def test_limits_are_raised_and_lifted(run: Run, at: list[str], server: Serve) -> None:
    workspace = run("workspace", "create", "--max-bytes", "10", *at)[1].strip()
    update = ("workspace", "update", workspace)
    code, _, _ = run(*update, "--max-bytes", "none", "--max-sites", "7", "--requests-per-minute", "600", *at)
    assert code == 0
    listed = [json.loads(line) for line in run("workspace", "list", "--json", *at)[1].splitlines()]
    (item,) = [item for item in listed if item["id"] == workspace]
    limits = [item[name] for name in ("maxSites", "maxFiles", "maxBytes", "requestsPerMinute")]
    assert limits == [7, None, None, 600]
    assert run(*update, "--name", "", *at)[0] == 0


def test_what_is_refused_before_any_call(run: Run) -> None:
    code, _, err = run("workspace", "update", "acme", "--key", "sk-x")
    assert (code, "nothing to change" in err) == (2, True)
    for text in ("-1", "1.5", "many", "", "٣"):
        code, _, err = run("workspace", "create", f"--max-sites={text}", "--key", "sk-x")
        assert code == 2
        assert f"--max-sites {text!r} is not a number" in err


def test_other_keys_may_not(run: Run, at: list[str], server: Serve) -> None:
    secret = run("key", "create", "--name", "x", "--scope", "keys:write", "--expires", "1d", *at)[1].strip()
    for command in (["workspace", "list"], ["workspace", "create"], ["key", "list", "--workspace", "acme"]):
        code, _, err = run(*command, "--url", server.control, "--key", secret)
        assert (code, "Only the root key may do this" in err) == (1, True)
    code, out, _ = run("key", "list", "--url", server.control, "--key", secret)
    assert code == 0
    assert ", ends 20" in out
