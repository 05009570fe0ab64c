"""`spacelane doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli import console
from server.cli.errors import FAILED, CliError
from server.cli.options import DataDirOption, JsonOption, KeyOption, UrlOption, examples
from server.cli.site_views import describe_certificate, describe_dns

if TYPE_CHECKING:
    from server.cli.client import Client
    from server.cli.connect import Connection
    from server.config import Settings
    from server.doctor import Finding

DOCTOR_EXAMPLES = examples(
    ("spacelane doctor", "this machine, the server on it, and its sites"),
    ("spacelane doctor --data-dir /var/lib/spacelane --json", "for a monitor"),
    ("spacelane doctor --url https://control.example --key sk-…", "another machine's server and its sites"),
    footer="It changes nothing. Exit code 1 if anything fails; warnings do not count.",
)
LOOPBACK = "localhost"


def doctor(
    sites: Annotated[int, typer.Option("--sites", metavar="N", min=0, help="How many sites' domains to look at.")] = 50,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Look for what is wrong: ports, disk, keys, database, certificate, clock, and each site's domain.

    Each finding is ok, a warning, or a failure with what to do next.
    """
    from server.cli.connect import read_settings
    from server.cli.transport import is_local

    settings = read_settings({"data_dir": data_dir} if data_dir else {})
    findings = asyncio.run(_look(settings, (url, key), sites, here=url is None or is_local(url)))
    states = [finding.state for finding in findings]
    ok = "fail" not in states
    if json:
        told = [{"check": f.check, "state": f.state, "words": f.words, "next": f.next_step} for f in findings]
        console.print_json({"ok": ok, "findings": told})
    else:
        for finding in findings:
            console.print_finding(finding.state, finding.check, finding.words, finding.next_step)
        failures, warnings = states.count("fail"), states.count("warn")
        console.print_note(f"{console.count(failures, 'failure')}, {console.count(warnings, 'warning')}.")
    if not ok:
        raise typer.Exit(FAILED)


async def _look(settings: Settings, given: tuple[str | None, str | None], sites: int, *, here: bool) -> list[Finding]:
    from server import doctor as checks
    from server.cli.client import Client

    found = (
        [checks.check_directory(settings), *checks.check_keys(settings), checks.check_space(settings)] if here else []
    )
    facts: tuple[int, dict[str, Any], Mapping[str, str]] | None = None
    of_sites: list[Finding] = []
    control = None
    connection = _connect(given, settings)
    if isinstance(connection, CliError):
        of_sites = [checks.Finding("server", "warn", connection.message.rstrip("."), connection.next_step)]
    else:
        async with Client(connection.endpoint) as client:
            facts = await client.find_facts()
            control = connection.endpoint.url if facts else None
            of_sites = [each async for each in _check_server(client, facts, sites)]
    if here:
        found += [checks.check_listener("edge", settings.edge, facts[1].get("visitors") if facts else None)]
        found += [checks.check_listener("control", settings.control, control)]
        found += [await checks.check_database(settings), checks.check_certificate(settings, time.time())]
    found.append(checks.check_clock(_ahead(facts), kept=checks.is_clock_kept()))
    return [*found, *of_sites]


def _connect(given: tuple[str | None, str | None], settings: Settings) -> Connection | CliError:
    from server.cli.connect import connect

    try:
        return connect(*given, settings.data_dir)
    except CliError as exc:
        return exc


def _ahead(facts: tuple[int, dict[str, Any], Mapping[str, str]] | None) -> float | None:
    """Seconds by which this machine's clock is ahead of the server's, whose answer tells whole ones."""
    try:
        return time.time() - parsedate_to_datetime(facts[2]["date"]).timestamp() if facts else None
    except (KeyError, ValueError):
        return None


async def _check_server(
    client: Client, facts: tuple[int, dict[str, Any], Mapping[str, str]] | None, sites: int
) -> AsyncIterator[Finding]:
    from server.doctor import Finding

    if facts is None:
        yield Finding("server", "warn", "none answers", "Start one with `spacelane serve`, or give its --url.")
        return
    status, told, _ = facts
    if status != 200:
        yield Finding("server", "fail", f"not ready: {told}", "Its log says why.")
        return
    workers = told.get("workers")
    yield Finding("server", "ok", f"ready, {console.count(len(workers), 'worker')}" if workers else "ready")
    try:
        async with aclosing(client.records("space/list", order="desc")) as spaces:
            async for space in spaces:
                async for site in client.records(f"space/{space['id']}/site/list"):
                    if not sites:
                        return
                    sites -= 1
                    state = await client.get(f"space/{space['id']}/site/{site['id']}/status")
                    for finding in [*_check_site(state, await asyncio.to_thread(resolve, site["domain"]))]:
                        yield finding
    except CliError as exc:
        yield Finding("key", "fail", exc.message.rstrip("."), exc.next_step)


def resolve(domain: str) -> frozenset[str] | None:
    """The addresses that this machine finds for `domain`; None where a question makes no sense."""
    if "*" in domain or domain.rpartition(".")[2] == LOOPBACK:
        return None
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(domain, None, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()


def _check_site(state: Mapping[str, Any], here: frozenset[str] | None) -> Iterator[Finding]:
    from server.doctor import Finding

    domain, dns, certificate = state["domain"], state["dns"], state["certificate"]
    words = f"{domain}: {describe_dns(dns)}"
    there = set(dns["addresses"])
    if dns["state"] == "missing":
        yield Finding("dns", "fail", words, "Point the domain's A and AAAA records at the server.")
    elif dns["state"] == "found" and here is not None and here.isdisjoint(there):
        told = ", ".join(sorted(here)) or "nothing"
        yield Finding(
            "dns",
            "warn",
            f"{words} for the server, and {told} here",
            "Wait for the DNS, or look whose resolver is old.",
        )
    else:
        yield Finding("dns", "ok" if dns["state"] == "found" else "warn", words, "" if there else "See to the DNS.")
    if certificate["state"] not in ("none", "valid"):
        yield Finding(
            "certificate", "fail", f"{domain}: {describe_certificate(certificate)}", "Get one that has the domain."
        )
    if not state["index"]["exists"]:
        yield Finding("site", "warn", f"{domain}: {state['index']['path']} is not there", "Publish one.")
    if state["problems"]:
        count = console.count(len(state["problems"]) + state["unlisted"], "problem")
        yield Finding(
            "rules", "warn", f"{domain}: {count}", f"`spacelane site status {domain}` tells each by its line."
        )
