"""What is told of a `_redirects` file beside the files that a site has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from server.edge.redirects import compile_redirects
from server.edge.rule_files import SiteRules
from server.edge.rule_lines import MAX_PROBLEMS
from server.edge.rule_report import report
from server.edge.trees import Tree
from storage.models import Blob
from tests.support.sites import hosted

SITE = hosted(domain="one.example", prefix="app")
FILES = ("index.html", "a.html", "docs/index.html", "docs/x.html", "404.html", "app.js", "down.html")


def judge(text: str, files: Sequence[str] = FILES) -> dict[int, str]:
    """The reasons by line."""
    tree = Tree(
        {f"app/{name}": Blob(digest="0" * 64, size=1) for name in files} | {"other.html": Blob(digest="1" * 64, size=1)}
    )
    problems, unlisted = asyncio.run(report(tree, SITE, SiteRules(compile_redirects(text))))
    assert unlisted == 0
    assert not any(problem.left_out for problem in problems)
    assert len({problem.line for problem in problems}) == len(problems), "a line is told of once"
    return {problem.line: problem.reason for problem in problems}


def test_a_site_without_rules_has_no_problems() -> None:
    assert asyncio.run(report(Tree({}), SITE, SiteRules())) == ((), 0)


# Circles


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("/x /x", 1, "redirects to what it matches itself"),
        ("/x /x 302 Cookie=x", 1, "redirects to what it matches itself"),
        ("/x id=:id /x", 1, "itself"),
        ("/x id=1 /x?id=1", 1, "itself"),
        ("/* /:splat", 1, "itself"),
        ("/* /down.html 302!", 1, "itself"),
        ("/* /up.html 302", 1, "itself"),  # a page that is not there
        ("/x/* /x/:splat/", 1, "itself"),
        ("/x /y\n/y /x", 1, "with lines 1, 2"),
        ("/w /x\n/x /y\n/y /z\n/z /x 302", 2, "with lines 2, 3, 4"),
        ("/x/* /y/:splat\n/y/* /x/:splat", 1, "with lines 1, 2"),
        ("/x /y Language=de\n/y /x Language=de,fr", 1, "with lines 1, 2"),
        ("/docs2/* /docs2/latest/:splat", 1, "more than 20 times"),
        ("/g/x /g/y\n/g/* /g/a/:splat 302!", 2, "more than 20 times"),
        ("/a /x 301!\n/x /a", 1, "with lines 1, 2"),
    ],
)
def test_circles_are_reported(text: str, line: int, reason: str) -> None:
    found = judge(text)
    assert reason in found[line]
    assert len([each for each in found.values() if "redirects " in each and "leads" not in each]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "/x /y\n/y /z",
        "/* /down.html 302",  # the page is there
        "/x /a\n/a /x",  # so is this one, and the second line does nothing
        "/x /y\n/y /x 200",
        "/x id=1 /x?id=2",
        "/x id=1 /x?",
        "/x /y Language=de\n/y /x Language=fr",
        "/x /y\n/y https://example.com/x",
        "/w/* /:splat",
        "/w/:x /:x",
        "/x /y 302 Cookie=x\n/y /z",
        "/x " + " ".join(f"{number}=1" for number in range(70)) + " /x",  # more than is ever read of a query
    ],
)
def test_what_ends_is_no_circle(text: str) -> None:
    reasons = " ".join(judge(text).values())
    assert not any(word in reasons for word in ("itself", "circle", "in a row"))


# Lines that nothing reaches


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a", "app/a.html"),
        ("/a.html", "app/a.html"),
        ("/", "app/index.html"),
        ("/docs/", "app/docs/index.html"),
        ("/docs", "app/docs/index.html"),
        ("/404", "app/404.html"),
    ],
)
def test_a_line_in_whose_place_is_a_file(path: str, name: str) -> None:
    assert f"is never reached: {name} answers" in judge(f"{path} https://example.com/")[1]
    assert judge(f"{path} https://example.com/ 301!") == {}


def test_a_line_that_another_overtakes_is_told_of_once() -> None:
    assert list(judge("/x /nothing Cookie=a\n/x /docs/\n/x /nothing")) == [1, 3]


# Where lines lead


@pytest.mark.parametrize(
    "line",
    [
        "/x /a",
        "/x /a.html#top",
        "/x /a?q=1",
        "/x /docs/",
        "/x /app.js",
        "/x https://example.com/y",
        "/x http://one.example/a",
        "/x /a 200",
        "/x /docs/ 200",
        "/x /docs 200",
        "/x /404 404",
        "/x /a 410",
        "/* /index.html 200",
        "/x/* /docs/:splat",
        "/x/:y /docs/:y/z.html 200",
        "/x/:y /:y",
        "/:lang/x /:lang/y",
        "/x/* /y/:splat\n/y/* /a",
        "/x/* /y/:splat\n/y/z /a",
        "/x/* /y/z/:splat\n/:any/* /a",
        "/x /y Language=de\n/y /a Language=de",
    ],
)
def test_targets_that_are_there(line: str) -> None:
    assert [reason for reason in judge(line).values() if "to spare" not in reason] == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("/x /y", "leads to /y, where visitors get an error"),
        ("/x /404", "leads to /404, where visitors get an error"),
        ("/x /y\n/y /z", "leads to /y and on to /z"),
        ("/x /y 200", "shows /y, where there is no file, so visitors get 404"),
        ("/* /app.html 200", "shows /app.html"),
        ("/x /y 404", "a page that only says 404"),
        ("/x /y 451", "a page that only says 451"),
        ("/x/* /y/:splat", "leads below /y/, where there is no file"),
        ("/x/:y /other/:y.html 200", "leads below /other/"),
        ("/x/* /y/:splat\n/z/* /a", "leads below /y/"),
        ("/x /y Language=de\n/y /a Language=fr", "leads to /y"),
        ("/x /y Cookie=c\n/y /z%2E", "leads to /y and on to /z."),
    ],
)
def test_targets_that_are_not(line: str, reason: str) -> None:
    assert reason in judge(line)[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/x /docs", "from where the folder's missing slash leads on: write /docs/"),
        ("/x /y\n/y /a", "from where line 2 leads on: write /a"),
        ("/w /x\n/x /y\n/y /a", "from where line 2 leads on: write /a"),
        ("/x /y\n/y https://example.com/z", "from where line 2 leads on: write https://example.com/z"),
        ("/x /y\n/y /docs/x", "write /docs/x"),
        ("/x /y\n/* /a", "from where line 2 leads on: write /a"),
    ],
)
def test_a_redirect_to_a_redirect(text: str, reason: str) -> None:
    assert reason in judge(text)[1]


def test_a_redirect_into_a_circle_is_not_told_of_twice() -> None:
    assert list(judge("/w /x\n/x /y\n/y /x")) == [2]


def test_only_so_many_are_listed() -> None:
    text = "\n".join(f"/x{number} /y{number}" for number in range(MAX_PROBLEMS + 10))
    problems, unlisted = asyncio.run(report(Tree({}), SITE, SiteRules(compile_redirects(text))))
    assert (len(problems), unlisted) == (MAX_PROBLEMS, 10)
