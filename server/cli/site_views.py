"""What the API says of a site, as people read it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from server.cli.scan import printable

DNS = {
    "found": "{addresses}",
    "missing": "no address: point the domain's A and AAAA records at the server",
    "private": "addresses that the internet cannot reach",
    "unknown": "nobody could be asked just now",
}
CERTIFICATE = {
    "none": "none: visitors are served without TLS",
    "valid": "valid until {end}",
    "mismatch": "not for this domain",
    "expired": "expired {end}",
    "notYetValid": "not valid yet",
}


def status_rows(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows of `site status`."""
    rows = [
        ("Site", f"{status['domain']}, {status['id']}"),
        ("Index", _named(status["index"])),
        ("Not found", _named(status["notFound"])),
        ("DNS", describe_dns(status["dns"])),
        ("Certificate", describe_certificate(status["certificate"])),
        *_previews(status.get("previews")),
        ("Processes", ", ".join(map(_worker, status["workers"])) or "none serve"),
    ]
    return [*rows, *problem_rows(status, "no problems")]


def problem_rows(answer: Mapping[str, Any], otherwise: str | None = None) -> list[tuple[str, str]]:
    """Rows of what is wrong with rules, or of `otherwise` where nothing is."""
    problems = problem_lines(answer) or ([] if otherwise is None else [otherwise])
    return [("" if number else "Rules", text) for number, text in enumerate(problems)]


def problem_lines(answer: Mapping[str, Any]) -> list[str]:
    """What is wrong with rules, by file and line, in any answer that has `problems` and `unlisted`."""
    problems = [f"{printable(each['file'])}:{each['line']}: {printable(each['reason'])}" for each in answer["problems"]]
    return [*problems, *([f"and {answer['unlisted']} more problems of rules"] if answer["unlisted"] else [])]


def describe_dns(dns: Mapping[str, Any]) -> str:
    return DNS[dns["state"]].format(addresses=", ".join(dns["addresses"]))


def describe_certificate(certificate: Mapping[str, Any]) -> str:
    return CERTIFICATE[certificate["state"]].format(end=certificate["expiresAt"])


def explanation_lines(explanation: Mapping[str, Any]) -> Iterator[str]:
    """The lines of `site explain`: the words, then the headers and where each is from."""
    yield from map(printable, explanation["words"])
    if explanation["headers"]:
        yield ""
    for header in explanation["headers"]:
        sources = ", ".join(map(_source, header["sources"]))
        yield f"{header['name']}: {printable(header['value'])}  ({sources})"


def _named(file: Mapping[str, Any]) -> str:
    return printable(file["path"]) + ("" if file["exists"] else ": not there")


def _previews(previews: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [("Previews", f"{previews['access']}, at {previews['host']}")] if previews else []


def _worker(worker: Mapping[str, Any]) -> str:
    behind = "" if worker["applied"] else ", applies the last change before it answers"
    return f"{worker['name']} {worker['state']}{behind}"


def _source(source: Mapping[str, Any]) -> str:
    lines = ", ".join(map(str, source["lines"]))
    return f"{source['step']} line {lines}" if lines else str(source["step"])
