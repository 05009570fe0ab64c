"""The commands as they are typed: output, files, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import httpx
import pytest
import typer

from server import __version__
from server.cli import app, console
from server.cli.connect import connect
from server.cli.errors import CliError
from server.cli.keys import Dialect, Scope, parse_expiry
from server.cli.scan import Skipped
from server.control.auth import SCOPES
from storage import models
from tests.cli.conftest import Run, make_tree
from tests.support.demo import running_demo
from tests.support.process import Serve
from tests.support.wire import get


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "site", {"index.html": "home", "notes/index.html": "notes", "404.html": "lost"})


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"spacelane {__version__}\n", "")


@pytest.mark.parametrize(
    "command", [[], *([*filter(None, (group, name))] for group, names in app.COMMANDS.items() for name in names)]
)
def test_help_teaches(run: Run, command: list[str]) -> None:
    code, out, _ = run(*command, "-h")
    assert code == 0
    assert "$ spacelane" in out
    for option in ("--help", "Examples" if command else "First steps"):
        assert option in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["deploy"],
        ["deploy", "."],
        ["deploy", ".", "--domain", "a.localhost", "--dry-run", "--fail-on-broken-urls"],
        ["serve", "--workers", "many"],
        ["key", "create"],
    ],
)
def test_wrong_use(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Error" in err


def test_print_config(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACELANE_EDGE", ":80")
    arguments = ("--workers", 3, "--platform-domain", "a.example", "--platform-domain", "b.example")
    code, out, _ = run("serve", "--print-config", *arguments, "--cache-size", "1MiB", "--data-dir", "x")
    assert code == 0
    rows = [re.split(r"  +", line) for line in out.splitlines()]
    assert rows[0] == ["setting", "value", "source"]
    assert ["data_dir", "x", "--data-dir"] in rows
    assert ["edge", "0.0.0.0:80", "SPACELANE_EDGE"] in rows
    assert ["workers", "3", "--workers"] in rows
    assert ["platform_domains", "a.example, b.example", "--platform-domain"] in rows
    assert ["cache_bytes", "1.0MiB", "--cache-size"] in rows
    assert ["log_level", "info", "default"] in rows


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_bad_setting(run: Run, command: str) -> None:
    code, _, err = run(command, "--edge", "8080")
    assert code == 2
    assert "edge (from --edge): is not HOST:PORT" in err


def test_a_server_that_cannot_start(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("serve", "--data-dir", tmp_path / "file")
    assert code == 1
    assert "--data-dir" in err


@pytest.mark.slow
def test_deploy(run: Run, at: list[str], server: Serve, site: Path) -> None:
    (site / ".env").touch()
    code, out, err = run("deploy", site, "--domain", "First.localhost", "--message", "hello", *at)
    assert code == 0
    assert "Published  3 files, 13 bytes" in out
    assert "Sent       3 files, 13 bytes in" in out
    assert f"http://first.localhost:{server.edge_port}/" in out
    assert "Skipped .env: hidden" in err
    assert "Uploading 3 files: 100% (13 bytes of 13 bytes)" in err
    assert server.get("first.localhost").body == b"home"
    assert server.get("first.localhost", "/notes/").body == b"notes"
    lost = server.get("first.localhost", "/nowhere")
    assert (lost.status, lost.body) == (404, b"lost")
    assert "Unchanged  3 files" in run("deploy", site, "--domain", "first.localhost", *at)[1]


@pytest.mark.slow
def test_deploy_in_json(run: Run, at: list[str], server: Serve, tmp_path: Path) -> None:
    site = make_tree(tmp_path / "s", {"page.html": "page", "copy.html": "page", **{f".{n}": "" for n in range(30)}})
    arguments = ("deploy", site, "--domain", "json.localhost", "--json", *at)
    code, out, err = run(*arguments, "--dry-run")
    assert (code, err) == (0, "")
    rehearsal = json.loads(out)
    assert (rehearsal["dryRun"], rehearsal["space"], rehearsal["site"]) == (True, None, None)
    assert server.get("json.localhost").status == 404
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert len(report.pop("skipped")) == 30
    assert report.pop("seconds") >= 0
    assert report == {
        "ok": True,
        "dryRun": False,
        "domain": "json.localhost",
        "url": f"http://json.localhost:{server.edge_port}/",
        "space": report["space"],
        "site": report["site"],
        "prefix": "",
        "deployment": report["deployment"],
        "files": 2,
        "bytes": 8,
        "removed": [],
        "live": True,
        "preview": report["preview"],
        "loss": None,
        "sentFiles": 1,
        "sentBytes": 4,
        "savedBytes": 4,
        "warnings": ["There is no index.html, so the site's first page will be a 404."],
    }
    assert json.loads(run(*arguments)[1])["deployment"] is None
    assert json.loads(run(*arguments, "--dry-run")[1])["site"] == report["site"]


@pytest.mark.slow
def test_dry_run(run: Run, at: list[str], server: Serve, site: Path) -> None:
    (site / "index.html").unlink()
    code, out, err = run("deploy", site, "--domain", "dry.localhost", "--dry-run", *at)
    assert code == 0
    assert "nothing was changed" in out
    assert "2 files, 9 bytes" in out
    assert "(a new site)" in out
    assert "dry_localhost (a new space)" in out
    assert "Warning: There is no index.html" in err
    assert server.get("dry.localhost").status == 404


@pytest.mark.slow
def test_deploy_with_a_wrong_key(run: Run, at: list[str], site: Path) -> None:
    code, out, err = run("deploy", site, "--domain", "a.localhost", *at, "--key", "sk-wrong")
    assert (code, out) == (1, "")
    assert "Error: " in err
    assert "Next:  The key came from --key" in err
    code, out, err = run("deploy", site, "--domain", "a.localhost", *at, "--key", "sk-wrong", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["ok"] is False
    assert "--key" in json.loads(out)["error"]["next"]


@pytest.mark.slow
def test_deploy_to_a_bad_domain(run: Run, at: list[str], site: Path) -> None:
    code, _, err = run("deploy", site, "--domain", "a_b.localhost", *at)
    assert code == 1
    assert err.splitlines() == [
        "Error: domain: has an underscore, which no host name may have: use a hyphen.",
        "Next:  Mend what it names, then run the command again.",
    ]


def test_deploy_without_a_server(run: Run, site: Path) -> None:
    code, _, err = run("deploy", site, "--domain", "a.localhost", "--url", "http://127.0.0.1:1", "--key", "sk-x")
    assert code == 1
    assert "no server answers at http://127.0.0.1:1" in err
    assert "spacelane serve" in err


def test_deploy_of_nothing(run: Run, tmp_path: Path) -> None:
    code, _, err = run("deploy", tmp_path / "nowhere", "--domain", "a.localhost")  # nor is there a key
    assert code == 2
    assert "does not exist" in err


@pytest.mark.slow
def test_deploy_beside_another_site(run: Run, at: list[str], server: Serve, tmp_path: Path) -> None:
    """A site of the whole space, and one of a folder in it."""
    public = make_tree(tmp_path / "public", {"index.html": "home", **{f"{n}.html": n for n in "abcd"}})
    docs = make_tree(tmp_path / "docsd", {"index.html": "docs", "more.html": "more"})
    whole = ("deploy", public, "--domain", "whole.localhost", *at)
    assert run(*whole)[0] == 0
    assert (
        run("deploy", docs, "--domain", "docs.localhost", "--space", "whole_localhost", "--prefix", "docs", *at)[0] == 0
    )
    (public / "index.html").write_text("new home")
    for arguments in (whole, (*whole, "--dry-run")):
        code, out, err = run(*arguments)
        assert (code, out) == (1, "")
        assert "this would remove files of docs.localhost (folder 'docs')" in err
        for option in ("--prefix", "--space", "--force"):
            assert option in err
    assert server.get("docs.localhost").body == b"docs"
    assert server.get("whole.localhost").body == b"home"
    (docs / "more.html").unlink()
    code, out, _ = run("deploy", docs, "--domain", "docs.localhost", "--space", "whole_localhost", *at)
    assert code == 0
    assert f"Removed    1 file that is not in {docs}: docs/more.html" in out
    code, out, _ = run(*whole, "--force", "--dry-run")
    assert (code, server.get("docs.localhost").body) == (0, b"docs")
    assert f"Would remove   1 file that is not in {public}: docs/index.html" in out
    report = json.loads(run(*whole, "--force", "--json")[1])
    assert report["removed"] == ["docs/index.html"]
    assert server.get("docs.localhost").status == 404
    assert server.get("whole.localhost").body == b"new home"
    for name in "abcd":
        (public / f"{name}.html").unlink()
    assert f"Removed    4 files that are not in {public}: a.html, b.html, c.html, …" in run(*whole)[1]


@pytest.mark.slow
def test_deploy_that_would_break_urls(run: Run, at: list[str], server: Serve, site: Path) -> None:
    arguments = ("deploy", site, "--domain", "careful.localhost", "--fail-on-broken-urls", *at)
    assert run(*arguments)[0] == 0
    (site / "notes").rename(site / "memos")
    (site / "_redirects").write_text("/away /nowhere\n")
    code, out, err = run(*arguments)
    assert "Warning: _redirects:1: leads to /nowhere" in err
    assert (code, server.get("careful.localhost", "/notes/").body) == (3, b"notes")
    assert re.search(r"^Not live +4 files", out)
    assert re.search(r"^Would break +careful.localhost/notes/", out, re.M)
    assert re.search(r"^_redirects +/notes/? /memos/?", out, re.M)
    code, out, err = run(*arguments, "--json")
    report = json.loads(out)
    assert (code, err, report["ok"], report["live"], report["loss"]["broken"]["total"]) == (3, "", False, False, 1)
    diff = ("deployments", "diff", "careful.localhost", report["deployment"], *at)
    code, out, _ = run(*diff, "--fail-on-broken-urls")
    assert code == 3
    assert [line.split()[-1] for line in out.splitlines()[:3]] == ["files", "_redirects", "memos/index.html"]
    assert re.search(r"^Rules +_redirects:1: leads to /nowhere", out, re.M)
    assert json.loads(run(*diff, "--json")[1])["broken"]["total"] == 1
    assert run("deployments", "activate", "careful.localhost", report["deployment"], *at)[0] == 0
    code, out, _ = run(*diff, "--against", report["deployment"], "--fail-on-broken-urls")
    assert (code, re.search(r"^Would break +no URL$", out, re.M) is None) == (0, False)


@pytest.mark.slow
def test_deploy_that_is_interrupted(run: Run, at: list[str], site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.cli.deploy.converse", interrupt)
    code, _, err = run("deploy", site, "--domain", "a.localhost", *at)
    assert (code, "Run the command again" in err) == (130, True)


@pytest.mark.slow
def test_deploy_of_a_wildcard(run: Run, at: list[str], site: Path) -> None:
    arguments = ("deploy", site, "--domain", "*.example.com", *at)
    assert "at             any name that *.example.com stands for (a new site)" in run(*arguments, "--dry-run")[1]
    assert "Visit      any name that *.example.com stands for\n" in run(*arguments)[1]
    assert json.loads(run(*arguments, "--json")[1])["url"] is None


@pytest.mark.slow
def test_key_create(run: Run, at: list[str], server: Serve, site: Path) -> None:
    scopes = [argument for scope in Scope if scope != Scope.KEYS_WRITE for argument in ("--scope", scope.value)]
    code, out, err = run("key", "create", "--name", "ci", *scopes, "--expires", "90d", "--dialect", "sdk", *at)
    assert code == 0
    secret = out.strip()
    assert re.fullmatch(r"sk-[\w-]{43}", secret)
    assert "cannot be shown again" in err
    code, _, _ = run("deploy", site, "--domain", "key.localhost", "--url", server.control, "--key", secret)
    assert code == 0
    code, _, err = run("key", "create", "--name", "more", *scopes, "--url", server.control, "--key", secret)
    assert code == 1
    assert "keys:write" in err


def test_scopes_and_dialects_are_the_servers() -> None:
    assert {scope.value for scope in Scope} == SCOPES
    assert {dialect.value for dialect in Dialect} == set(get_args(models.Dialect))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("30m", "2026-03-01T10:30:00.000Z"),
        ("12h", "2026-03-01T22:00:00.000Z"),
        (" 90D ", "2026-05-30T10:00:00.000Z"),
        ("1w", "2026-03-08T10:00:00.000Z"),
    ],
)
def test_expiry(text: str, end: str) -> None:
    assert parse_expiry(text, datetime(2026, 3, 1, 10, tzinfo=UTC)) == end


@pytest.mark.parametrize("text", ["", "90", "d", "0d", "1y", "-1d", "1.5h", "999999d"])
def test_no_expiry(text: str) -> None:
    with pytest.raises(CliError, match="--expires") as caught:
        parse_expiry(text, datetime(2026, 3, 1, tzinfo=UTC))
    assert caught.value.exit_code == 2


class TestConnect:
    """Where the server and its key are found."""

    def test_what_is_given(self) -> None:
        connection = connect("https://control.example/", "sk-given", None)
        assert (connection.endpoint.url, connection.endpoint.key) == ("https://control.example/", "sk-given")
        assert connection.visitors_url("a.example", None) == "http://a.example/"
        assert connection.visitors_url("a.example", "http://0.0.0.0:8080") == "http://a.example/"
        assert connection.visitors_url("a.example", "https://0.0.0.0:443") == "https://a.example/"

    @pytest.mark.parametrize(
        ("server", "url", "reachable"),
        [
            ("https://control.example", "http://x--a.example:8080/?pass=1", "http://x--a.example/?pass=1"),
            ("https://control.example", "https://x--a.example:8443/", "https://x--a.example:8443/"),
            ("https://control.example", "https://x--a.example:443/", "https://x--a.example/"),
            ("http://127.0.0.1:8081", "http://x--a.localhost:8080/", "http://x--a.localhost:8080/"),
        ],
    )
    def test_what_a_server_says_of_its_pages(self, server: str, url: str, reachable: str) -> None:
        assert connect(server, "sk-given", None).reachable(url) == reachable

    def test_the_settings_of_this_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "spacelane.toml").write_text('control = "0.0.0.0:9081"\nedge = "[::]:9080"\n')
        monkeypatch.setenv("SPACELANE_ROOT_KEY", "sk-from-the-environment")
        connection = connect(None, None, None)
        assert connection.endpoint.url == "http://127.0.0.1:9081"
        assert connection.endpoint.key == "sk-from-the-environment"
        assert connection.visitors_url("a.localhost", None) == "http://a.localhost:9080/"
        assert connection.visitors_url("a.localhost", "https://0.0.0.0:443") == "https://a.localhost/"

    def test_a_server_with_a_certificate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPACELANE_TLS_CERT", "cert.pem")
        monkeypatch.setenv("SPACELANE_TLS_KEY", "key.pem")
        assert connect(None, "sk-x", None).visitors_url("a.example", None) == "https://a.example:8080/"
        monkeypatch.setenv("SPACELANE_EDGE", ":443")
        assert connect(None, "sk-x", None).visitors_url("a.example", None) == "https://a.example/"

    def test_the_key_in_the_data_directory(self, tmp_path: Path) -> None:
        (tmp_path / "data" / "demo").mkdir(parents=True)
        (tmp_path / "data" / "demo" / "root.key").write_text("sk-demo\n")
        assert connect(None, None, tmp_path / "data").endpoint.key == "sk-demo"
        (tmp_path / "data" / "root.key").write_text("sk-own\n")
        assert connect(None, None, tmp_path / "data").endpoint.key == "sk-own"

    def test_no_key_anywhere(self) -> None:
        with pytest.raises(CliError, match=r"no server has written \.spacelane/root\.key") as caught:
            connect(None, None, None)
        assert caught.value.exit_code == 2

    def test_a_key_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "root.key").mkdir()
        with pytest.raises(CliError, match="cannot be read: Is a directory"):
            connect(None, None, tmp_path)

    @pytest.mark.parametrize("content", [b"", b"\xff"])
    def test_a_key_file_without_a_key(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "root.key").write_bytes(content)
        with pytest.raises(CliError, match=r"root\.key is") as caught:
            connect(None, None, tmp_path)
        assert "Delete it" in caught.value.next_step

    def test_the_root_key_stays_on_this_machine(self, tmp_path: Path) -> None:
        (tmp_path / "root.key").write_text("sk-own\n")
        with pytest.raises(CliError, match=r"there is no key for https://control\.example"):
            connect("https://control.example", None, tmp_path)

    def test_a_bad_setting(self, tmp_path: Path) -> None:
        (tmp_path / "spacelane.toml").write_text("workers = -1\n")
        with pytest.raises(CliError, match=r"workers \(from spacelane\.toml\)"):
            connect(None, None, None)


def test_many_skipped_names_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_skipped([Skipped(f".{number}", "hidden") for number in range(25)])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "… and 5 more; --json lists them all."


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with console.working("Reading"), console.show_uploading(2, 2_000_000) as sent:
        sent(1_000_000)
        sent(-1_000_000)
        sent(2_000_000)
    err = capsys.readouterr().err
    assert "Reading" in err
    assert "Uploading 2 files" in err
    assert "2.0/2.0 MB" in err


def test_progress_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with console.show_uploading(1, 1000) as sent:
        for _ in range(50):
            sent(20)
        sent(-300)
        sent(300)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "Uploading 1 file: 10% (100 bytes of 1.0 kB)"
    assert lines[-1] == "Uploading 1 file: 100% (1.0 kB of 1.0 kB)"


def test_every_command_documents_its_options() -> None:
    """Each option of each command has words of help."""
    command = typer.main.get_command(app.app)
    pending = [command]
    seen = 0
    while pending:
        current = pending.pop()
        pending += getattr(current, "commands", {}).values()
        for parameter in current.params:
            seen += 1
            assert getattr(parameter, "help", None), (current.name, parameter.name)
    assert seen > 30


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    key = tmp_path / ".spacelane" / "demo" / "root.key"
    for _ in range(2):  # the second time it is there already
        with running_demo(tmp_path) as demo:
            assert key.read_text().strip() in demo.said
            assert "  .spacelane/demo/root.key" in demo.said
            page = get(demo.edge, "demo.localhost", "/")
            assert b"Your site is in orbit" in page.body
            lost = get(demo.edge, "demo.localhost", "/the/far/side")
            assert (lost.status, b"left the lane" in lost.body) == (404, True)
            with httpx.Client(base_url=f"http://127.0.0.1:{demo.control}/api/v1/space/@demo_localhost/") as api:
                headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
                assert len(api.get("deployment/list", headers=headers).json()["items"]) == 1


@pytest.mark.slow
def test_a_demo_that_cannot_publish_says_so(tmp_path: Path) -> None:
    """Its domain belongs to somebody else's space of the same data directory."""
    site = make_tree(tmp_path / "site", {"index.html": "mine"})
    with Serve(tmp_path / "data") as serve:
        command = [sys.executable, "-m", "server", "deploy", str(site), "--domain", "demo.localhost", "--space", "mine"]
        where = ["--url", serve.control, "--data-dir", str(serve.data_dir)]
        subprocess.run([*command, *where], check=True, capture_output=True)
        serve.stop()
    options = ("--data-dir", "data", "--edge", "127.0.0.1:0", "--control", "127.0.0.1:0")
    with subprocess.Popen(
        [sys.executable, "-m", "server", "demo", *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("Next:"):
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "demo.localhost belongs to a site of another space" in "".join(said)


@pytest.mark.slow
def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "--version"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout == f"spacelane {__version__}\n"
