"""What `spacelane deploy` tells at the end: facts to programs, rows to people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.cli import console
from server.cli.console import count, size
from server.cli.publish import Change, Outcome, Place, Target, find_warnings
from server.cli.scan import Scan, printable
from storage.models import DEFAULT_INDEX

NAMED = 3  # removed files that are named before the rest is only counted
LISTED = 20  # URLs and rule problems


@dataclass(frozen=True, slots=True)
class Report:
    """`is_held`: it was not made live, since URLs would have stopped working."""

    facts: Mapping[str, object]
    rows: console.Rows
    warnings: Sequence[str]
    is_held: bool = False


def rehearsed(target: Target, found: Scan, place: Place, change: Change, *, url: str | None, directory: Path) -> Report:
    """Of a dry run."""
    warnings = find_warnings(found, place.site.index if place.site else DEFAULT_INDEX)
    facts = {
        **_facts(target, url, found, change.removed, warnings),
        "dryRun": True,
        "space": place.space_id,
        "site": place.site.id if place.site else None,
        "prefix": place.prefix,
    }
    rows: console.Rows = [
        ("Dry run", "nothing was changed"),
        ("Would publish", _tree(found)),
        *_removed_rows("Would remove", change.removed, directory),
        ("at", console.address(url, target.domain) + ("" if place.site else " (a new site)")),
        ("from space", place.alias + ("" if place.space_id else " (a new space)")),
    ]
    return Report(facts, rows, warnings)


def published(
    target: Target, found: Scan, outcome: Outcome, *, url: str | None, directory: Path, seconds: float
) -> Report:
    """Of a publish, which may have stopped before it was live."""
    warnings = find_warnings(found, outcome.site.index) + list(outcome.problems)
    facts = {
        **_facts(target, url, found, outcome.removed, warnings),
        "ok": outcome.loss is None,
        "dryRun": False,
        "space": outcome.space_id,
        "site": outcome.site.id,
        "prefix": outcome.site.prefix,
        "deployment": outcome.deployment_id,
        "live": outcome.is_live,
        "preview": outcome.preview,
        "loss": outcome.loss,
        "sentFiles": outcome.sent_files,
        "sentBytes": outcome.sent_bytes,
        "savedBytes": found.size - outcome.sent_bytes,
        "seconds": round(seconds, 3),
    }
    removed = _removed_rows("Removed" if outcome.is_live else "Would remove", outcome.removed, directory)
    rows: list[tuple[str, Any]] = [(_headline(outcome), _tree(found)), *_sent_rows(found, outcome, seconds), *removed]
    rows += [] if outcome.loss is None else loss_rows(outcome.loss)
    rows += [("Preview", console.link(outcome.preview))] if outcome.preview else []
    if outcome.is_live:
        rows.append(("Visit", console.address(url, target.domain)))
    elif outcome.deployment_id:
        command = f"spacelane deployments activate {target.domain} {outcome.deployment_id}"
        rows.append(("Go live", console.copyable(command)))
    return Report(facts, rows, warnings, is_held=outcome.loss is not None)


def _headline(outcome: Outcome) -> str:
    if outcome.deployment_id is None:
        return "Unchanged"
    return "Published" if outcome.is_live else "Not live"


def _tree(found: Scan) -> str:
    return f"{count(len(found.files), 'file')}, {size(found.size)}"


def _sent_rows(found: Scan, outcome: Outcome, seconds: float) -> console.Rows:
    sent = f"{count(outcome.sent_files, 'file')}, {size(outcome.sent_bytes)} in {seconds:.1f} s"
    saved = found.size - outcome.sent_bytes
    return [("Sent", sent), *([("Saved", f"{size(saved)}, which the server has already")] if saved else [])]


def loss_rows(diff: Mapping[str, Any]) -> console.Rows:
    """The URLs that would stop working, the most asked for first, and rules that would mend it."""
    broken, moved = diff["broken"], diff["moved"]
    urls = [_describe_broken(each) for each in broken["items"][:LISTED]]
    more = [f"and {broken['total'] - len(urls):,} more URLs"] if broken["total"] > len(urls) else []
    rules = [rule for move in moved["items"] for rule in move["rules"]][:LISTED]
    return [*_column("Would break", urls + more), *_column("_redirects", rules)]


def change_rows(name: str, changes: Mapping[str, Any]) -> console.Rows:
    """Files that a deployment adds, changes or removes."""
    paths = [printable(each["path"]) for each in changes["items"][:LISTED]]
    more = [f"and {changes['total'] - len(paths):,} more"] if changes["total"] > len(paths) else []
    return _column(name, [count(changes["total"], "file"), *paths, *more])


def _describe_broken(broken: Mapping[str, Any]) -> str:
    asked = f" ({count(broken['requests'], 'request')} lately)" if broken["requests"] else ""
    return printable(f"{broken['domain']}{broken['url']}{asked}")


def _column(name: str, values: Sequence[str]) -> console.Rows:
    """The first row has the name."""
    return [(name if not number else "", value) for number, value in enumerate(values)]


def _removed_rows(label: str, removed: Sequence[str], directory: Path) -> console.Rows:
    if not removed:
        return []
    names = [printable(path) for path in removed[:NAMED]] + ["…"] * (len(removed) > NAMED)
    verb = "is" if len(removed) == 1 else "are"
    return [(label, f"{count(len(removed), 'file')} that {verb} not in {directory}: {', '.join(names)}")]


def _facts(
    target: Target, url: str | None, found: Scan, removed: Sequence[str], warnings: Sequence[str]
) -> dict[str, object]:
    return {
        "ok": True,
        "domain": target.domain,
        "url": url,
        "files": len(found.files),
        "bytes": found.size,
        "removed": list(removed),
        "skipped": [{"name": entry.name, "reason": entry.reason} for entry in found.skipped],
        "warnings": list(warnings),
    }
