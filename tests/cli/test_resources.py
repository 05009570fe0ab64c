"""`site …`, `space …`, `deployments …` and `key token` against a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, make_tree
from tests.support.process import Serve

pytestmark = pytest.mark.slow


@pytest.fixture
def site(run: Run, at: list[str], tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The domain of a site that was published twice; named after the test, so that each has its own."""
    domain = f"{request.node.name.partition('[')[0].replace('_', '-')[:60]}.localhost"
    folder = make_tree(tmp_path / "site", {"index.html": "one", "old.html": "old", "_redirects": "/a /old\n/x\n"})
    assert run("deploy", folder, "--domain", domain, "--message", "first", *at)[0] == 0
    (folder / "index.html").write_text("two")
    assert run("deploy", folder, "--domain", domain, "--message", "second", *at)[0] == 0
    return domain


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_spaces(run: Run, at: list[str]) -> None:
    code, out, err = run(
        "space", "create", "--alias", "mine", "--name", "Mine", "--meta", "plan=pro", "--meta", "a=b", *at
    )
    assert (code, err) == (0, "")
    space = out.strip()
    assert run("space", "update", "@mine", "--name", "Ours", "--contact-id", "c-1", "--meta", "a=", *at)[0] == 0
    (item,) = lines(run("space", "list", "--meta", "plan=pro", "--json", *at)[1])
    assert (item["id"], item["name"], item["contactId"], item["meta"]) == (space, "Ours", "c-1", {"plan": "pro"})
    header, row = run("space", "list", "--contact-id", "c-1", *at)[1].splitlines()
    assert header.split() == ["id", "alias", "name", "made"]
    assert row.split()[:3] == [space, "mine", "Ours"]
    assert run("space", "list", "--meta", "plan=none", *at)[2] == "There are none.\n"
    code, _, err = run("space", "delete", "mine", *at)
    assert (code, "Give --yes" in err) == (2, True)
    assert json.loads(run("space", "delete", "mine", "--yes", "--json", *at)[1]) == {"id": space}
    code, _, err = run("space", "delete", "mine", "--yes", *at)
    assert (code, "spacelane space list" in err) == (1, True)


@pytest.mark.parametrize(("form", "start"), [("csv", "id,alias,name"), ("json", '{"items":['), ("jsonl", '{"id":')])
def test_export(run: Run, at: list[str], form: str, start: str) -> None:
    run("space", "create", "--name", "to be exported", *at)
    code, out, _ = run("space", "export", "--format", form, *at)
    assert (code, out.startswith(start)) == (0, True)
    assert "to be exported" in out


@pytest.mark.parametrize("options", [["--meta", "plan"], ["--meta", "=x"], []])
def test_what_cannot_be_changed_is_not_asked_for(run: Run, options: list[str]) -> None:
    code, _, err = run("space", "update", "mine", *options, "--key", "sk-x")
    assert (code, "Next:" in err) == (2, True)


def test_sites(run: Run, at: list[str], server: Serve, site: str) -> None:
    space = site.replace(".", "_")
    code, out, _ = run("site", "create", "Second.localhost", "--space", space, "--not-found", "old.html", *at)
    assert code == 0
    second = out.strip()
    assert server.get("second.localhost", "/nowhere").body == b"old"
    listed = lines(run("site", "list", "--space", space, "--json", *at)[1])
    assert [each["domain"] for each in listed] == [site, "second.localhost"]
    assert listed[0]["alias"] == space
    everywhere = run("site", "list", *at)[1].splitlines()
    assert everywhere[0].split() == ["domain", "folder", "alias", "id"]
    assert any(second in line for line in everywhere)
    assert (
        run("site", "update", second, "--space", space, "--domain", "third.localhost", "--alias", "third", *at)[0] == 0
    )
    assert server.get("third.localhost").body == b"two"
    assert run("site", "delete", "third", "--space", space, "--yes", *at)[0] == 0
    assert server.get("third.localhost").status == 404
    code, _, err = run("site", "delete", "third.localhost", "--yes", *at)
    assert (code, "there is no site at third.localhost in any space" in err) == (1, True)
    code, _, err = run("site", "status", "third", *at)
    assert (code, "--space" in err) == (2, True)


def test_site_of_a_space_of_another_name(run: Run, at: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run("space", "create", "--alias", "odd", *at)
    assert run("site", "create", "found.localhost", "--space", "odd", *at)[0] == 0
    assert json.loads(run("site", "status", "found.localhost", "--json", *at)[1])["domain"] == "found.localhost"
    monkeypatch.setattr("server.cli.lookup.MOST_SPACES", 0)
    code, _, err = run("site", "status", "found.localhost", *at)
    assert (code, "Name its space with --space" in err) == (1, True)
    code, _, err = run("site", "status", "found.localhost", "--space", "nobodys", *at)
    assert (code, "in the space nobodys" in err) == (1, True)


def test_site_status(run: Run, at: list[str], server: Serve, site: str) -> None:
    code, out, _ = run("site", "status", site, *at)
    assert code == 0
    rows = dict(line.split("  ", 1) for line in out.splitlines() if not line.startswith(" "))
    assert rows["Index"].strip() == "index.html"
    assert rows["Not found"].strip() == "404.html: not there"
    assert rows["Certificate"].strip().startswith("none")
    assert rows["Processes"].strip().startswith("worker-0 serving")  # and perhaps has a change to apply first
    assert rows["Rules"].strip().startswith("_redirects:2: ")
    assert rows["Visit"].strip() == f"http://{site}:{server.edge_port}/"


def test_site_explain(run: Run, at: list[str], server: Serve, site: str) -> None:
    code, out, _ = run("site", "explain", f"http://{site}:8080/a?x=1", *at)
    assert code == 0
    assert "Line 1 of _redirects applies" in out
    assert "location: /old?x=1  (_redirects line 1)" in out
    told = json.loads(run("site", "explain", "/", "--site", site, "-H", "Accept-Encoding: br", "--json", *at)[1])
    assert (told["status"], told["file"]["path"]) == (200, "index.html")
    assert json.loads(run("site", "explain", "/", "--site", site, "--method", "PUT", "--json", *at)[1])["status"] == 405
    newest = lines(run("deployments", "list", site, "--json", *at)[1])[0]["id"]
    preview = json.loads(run("deployments", "preview", site, newest, "--json", *at)[1])["url"]
    assert f"--{site}:{server.edge_port}/" in preview
    told = json.loads(run("site", "explain", f"{preview}old", "--json", *at)[1])
    assert (told["status"], told["file"]["path"]) == (200, "old.html")
    for url in ("/", "http://01k0vdxkhdgr5n66pa9g--a-example--01k0vdxkhdgr5n66.localhost/"):
        code, _, err = run("site", "explain", url, *at)
        assert (code, "--site" in err) == (2, True)
    assert run("site", "explain", "http://[x/", *at)[0] == 2


def test_deployments(run: Run, at: list[str], server: Serve, site: str) -> None:
    newest, oldest = lines(run("deployments", "list", site, "--json", *at)[1])
    assert [(each["message"], each["state"]) for each in (newest, oldest)] == [("second", "live"), ("first", "earlier")]
    out = run("deployments", "list", site, "--take", "1", *at)[1]
    assert "3 files" in out
    assert "second" in out
    assert "first" not in out
    code, out, _ = run("deployments", "rollback", site, *at)
    assert (code, server.get(site).body) == (0, b"one")
    assert oldest["id"] in out
    assert f"http://{site}:{server.edge_port}/" in out
    assert [each["state"] for each in lines(run("deployments", "list", site, "--json", *at)[1])] == ["earlier", "live"]
    answer = json.loads(run("deployments", "rollback", site.replace(".", "_"), "--json", *at)[1])
    assert (answer["ok"], answer["id"], answer["url"]) == (True, newest["id"], None)
    assert run("deployments", "activate", site, oldest["id"], *at)[0] == 0
    assert server.get(site).body == b"one"


def test_nothing_to_go_back_to(run: Run, at: list[str], tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "s", {"index.html": "only"})
    run("deploy", folder, "--domain", "only.localhost", *at)
    code, out, _ = run("deployments", "rollback", "only.localhost", "--json", *at)
    assert code == 1
    failure = json.loads(out)
    assert failure == {
        "ok": False,
        "error": {"message": "there is nothing to go back to.", "next": failure["error"]["next"]},
    }


def test_a_preview_waits(run: Run, at: list[str], server: Serve, site: str, tmp_path: Path) -> None:
    (tmp_path / "site" / "index.html").write_text("three")
    code, out, _ = run("deploy", tmp_path / "site", "--domain", site, "--no-activate", *at)
    assert (code, server.get(site).body) == (0, b"two")
    go_live = next(line for line in out.splitlines() if line.startswith("Go live"))
    assert "Not live  3 files" in out
    assert lines(run("deployments", "list", site, "--json", *at)[1])[0]["state"] == "unfinished"
    assert run(*go_live.split()[3:], *at)[0] == 0
    assert server.get(site).body == b"three"


def test_a_token(run: Run, at: list[str], server: Serve, site: str) -> None:
    spaces = ["--space", site.replace(".", "_")]
    code, out, err = run("key", "token", "--scope", "sites:read", *spaces, "--expires", "30m", *at)
    assert (code, "It ends at 20" in err) == (0, True)
    with_token = ["--url", server.control, "--key", out.strip()]
    assert run("site", "list", *spaces, *with_token)[0] == 0
    assert run("space", "delete", spaces[1], "--yes", *with_token)[0] == 1
    assert set(json.loads(run("key", "token", "--scope", "sites:read", "--json", *at)[1])) == {"token", "expiresAt"}
    assert set(json.loads(run("key", "create", "--name", "x", "--scope", "sites:read", "--json", *at)[1])) == {
        "id",
        "secret",
    }
