"""Calls that may be repeated, on every store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from storage.calls import Attempt
from storage.metadata import MetadataStore
from tests.storage.conftest import Clock

SCOPE = "a" * 64


def make_attempt(id: str = "attempt_1", *, at: int = 1000, body: str = "body") -> Attempt:
    return Attempt(id=id, body_digest=body, started_at=at, status=None, answer=None)


async def test_the_first_of_a_scope_is_remembered_with_its_answer(metadata: MetadataStore) -> None:
    first = make_attempt()
    assert await metadata.begin_attempt("acme", SCOPE, first, since=0) == first
    assert await metadata.begin_attempt("acme", SCOPE, make_attempt("attempt_2", body="else"), since=0) == first
    await metadata.end_attempt("acme", SCOPE, "attempt_2", 500, "not its own")
    assert await metadata.begin_attempt("acme", SCOPE, make_attempt("attempt_3"), since=0) == first
    await metadata.end_attempt("acme", SCOPE, "attempt_1", 200, '{"id": "é"}')
    answered = replace(first, status=200, answer='{"id": "é"}')
    assert await metadata.begin_attempt("acme", SCOPE, make_attempt("attempt_4"), since=0) == answered


async def test_scopes_and_workspaces_are_apart(metadata: MetadataStore) -> None:
    for workspace, scope in (("acme", SCOPE), ("acme", "b" * 64), ("other", "c" * 64)):
        attempt = make_attempt(f"{workspace} {scope}")
        assert await metadata.begin_attempt(workspace, scope, attempt, since=0) == attempt


async def test_an_attempt_that_is_forgotten_may_be_made_again(metadata: MetadataStore) -> None:
    await metadata.begin_attempt("acme", SCOPE, make_attempt(), since=0)
    await metadata.forget_attempt("acme", SCOPE, "attempt_2")
    assert (await metadata.begin_attempt("acme", SCOPE, make_attempt("attempt_2"), since=0)).id == "attempt_1"
    await metadata.forget_attempt("acme", SCOPE, "attempt_1")
    await metadata.end_attempt("acme", SCOPE, "attempt_1", 200, "")
    assert (await metadata.begin_attempt("acme", SCOPE, make_attempt("attempt_2"), since=0)).id == "attempt_2"


async def test_an_attempt_counts_for_a_while(metadata: MetadataStore) -> None:
    await metadata.begin_attempt("acme", SCOPE, make_attempt(at=1000), since=0)
    assert (await metadata.begin_attempt("acme", SCOPE, make_attempt("attempt_2"), since=999)).id == "attempt_1"
    later = make_attempt("attempt_2", at=5000)
    assert await metadata.begin_attempt("acme", SCOPE, later, since=1000) == later
    await metadata.end_attempt("acme", SCOPE, "attempt_1", 200, "late")
    assert await metadata.begin_attempt("acme", SCOPE, make_attempt("attempt_3"), since=1000) == later


async def test_of_those_who_race_one_begins(metadata: MetadataStore, clock: Clock) -> None:
    attempts = [make_attempt(f"attempt_{number}") for number in range(20)]
    begun = await asyncio.gather(*(metadata.begin_attempt("acme", SCOPE, each, since=0) for each in attempts))
    assert len({each.id for each in begun}) == 1


async def test_old_attempts_and_those_beyond_a_bound_are_forgotten(metadata: MetadataStore) -> None:
    for number in range(10):
        await metadata.begin_attempt("acme", f"{number:064}", make_attempt(f"a{number}", at=number), since=-1)
    await metadata.begin_attempt("other", "x" * 64, make_attempt("o", at=5), since=-1)
    assert await metadata.forget_attempts(3, 100) == 3
    assert await metadata.forget_attempts(3, 100) == 0
    assert await metadata.forget_attempts(0, 4) == 3
    left = []
    for number in range(10):
        new = make_attempt("new", at=100)
        left.append((await metadata.begin_attempt("acme", f"{number:064}", new, since=-1)).id)
    assert left == ["new"] * 6 + ["a6", "a7", "a8", "a9"]
    assert (await metadata.begin_attempt("other", "x" * 64, make_attempt("new"), since=-1)).id == "o"
