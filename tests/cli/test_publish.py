"""Publishing to a control API: what is sent, what is left alone, and what stops it half-way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from server.cli.client import Client, RemoteSite
from server.cli.errors import ApiError, CliError
from server.cli.names import MAX_ALIAS, derive_alias, normalise_domain
from server.cli.publish import Outcome, Target, find_place, find_warnings, publish
from server.cli.scan import scan
from server.cli.upload import CHUNK
from storage.models import NewSite, NewSpace
from tests.cli.conftest import Control, make_tree
from tests.control.api import WORKSPACE

MY = Target("my.localhost")


class Uploading:
    """What was announced, and the sum of what was told of."""

    def __init__(self) -> None:
        self.announced: list[tuple[int, int]] = []
        self.sent = 0

    @contextmanager
    def __call__(self, files: int, size: int) -> Iterator[Callable[[int], None]]:
        self.announced.append((files, size))
        yield self._add

    def _add(self, count: int) -> None:
        self.sent += count


async def deploy(control: Control, directory: Path, target: Target = MY) -> tuple[Outcome, Uploading]:
    uploading = Uploading()
    async with Client(control.endpoint) as client:
        return await publish(client, scan(directory), target, uploading), uploading


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "site", {"index.html": "home", "a/b.css": "css", "copy.html": "home", "empty": ""})


async def test_the_first_time(control: Control, site: Path) -> None:
    outcome, uploading = await deploy(control, site)
    assert await control.paths("my_localhost") == ["a/b.css", "copy.html", "empty", "index.html"]
    assert (outcome.sent_files, outcome.sent_bytes) == (3, 7)  # one content is in two files
    assert uploading.announced == [(3, 7)]
    assert uploading.sent == 7
    hosted = await control.metadata.find_site(["my.localhost"])
    assert hosted is not None
    assert (hosted.id, hosted.space_id, hosted.prefix) == (outcome.site.id, outcome.space_id, "")


async def test_a_new_site_has_an_alias_if_nobody_has_it(control: Control, site: Path) -> None:
    await deploy(control, site)
    assert (await control.metadata.find_site_by_alias(WORKSPACE, "my_localhost")) is not None
    space = await control.metadata.create_space(NewSpace(workspace_id=WORKSPACE))
    await control.metadata.create_site(NewSite(space_id=space.id, domain="x.localhost", alias="other_localhost"))
    await deploy(control, site, Target("other.localhost"))
    other = await control.metadata.find_site(["other.localhost"])
    assert other is not None
    found = await control.metadata.find_site_by_id(other.id)
    assert found is not None
    assert found.alias is None


async def test_a_preview_changes_nothing_for_visitors(control: Control, site: Path) -> None:
    await deploy(control, site)
    for _ in range(2):  # whether there is anything new or not
        before = await control.paths("my_localhost")
        (site / "new.html").write_text("new")
        outcome, _ = await deploy(control, site, replace(MY, activate=False))
        assert (outcome.is_live, outcome.deployment_id is None) == (False, False)
        assert await control.paths("my_localhost") == before
        assert (await deploy(control, site))[0].sent_files == 0


async def test_urls_that_would_break_hold_it_back(control: Control, site: Path) -> None:
    careful = replace(MY, spare_urls=True)
    assert (await deploy(control, site, careful))[0].is_live
    (site / "copy.html").rename(site / "moved.html")
    (site / "index.html").write_text("new home")
    before = await control.paths("my_localhost")
    outcome, _ = await deploy(control, site, careful)
    assert (outcome.is_live, await control.paths("my_localhost")) == (False, before)
    assert outcome.loss is not None
    assert [each["url"] for each in outcome.loss["broken"]["items"]] == ["/copy"]
    (site / "_redirects").write_text("/copy /moved\n/copy.html /moved\n")
    outcome, _ = await deploy(control, site, careful)
    assert (outcome.is_live, outcome.loss, outcome.sent_files) == (True, None, 1)


async def test_rules_are_judged(control: Control, site: Path) -> None:
    (site / "_redirects").write_text("/away /nowhere\n")
    # A new site, a preview, and what is live.
    for number, target in enumerate((MY, replace(MY, activate=False), MY)):
        (site / "index.html").write_text(f"home {number}")
        outcome, _ = await deploy(control, site, target)
        assert [problem.partition(", ")[0] for problem in outcome.problems] == ["_redirects:1: leads to /nowhere"]


async def test_again_writes_nothing(control: Control, site: Path) -> None:
    first, _ = await deploy(control, site)
    revision = await control.revision()
    again, uploading = await deploy(control, site)
    assert (again.space_id, again.site.id, again.deployment_id) == (first.space_id, first.site.id, None)
    assert uploading.announced == []
    assert await control.revision() == revision


@pytest.mark.parametrize(
    "change",
    [
        lambda site: (site / "index.html").write_text("new home"),
        lambda site: (site / "z.html").write_text("new"),
        lambda site: (site / "empty").unlink(),
        lambda site: (site / "a" / "b.css").rename(site / "a" / "c.css"),
    ],
)
async def test_a_change_is_published(control: Control, site: Path, change: Callable[[Path], object]) -> None:
    await deploy(control, site)
    change(site)
    outcome, _ = await deploy(control, site)
    assert outcome.deployment_id
    assert outcome.sent_files <= 1
    assert await control.paths("my_localhost") == [file.path for file in scan(site).files]


@pytest.mark.slow
async def test_more_files_than_a_page_lists(control: Control, tmp_path: Path) -> None:
    site = make_tree(tmp_path / "site", {f"{number}.txt": str(number) for number in range(130)})
    assert (await deploy(control, site))[0].sent_files == 130
    assert (await deploy(control, site))[0].deployment_id is None


@pytest.mark.slow
async def test_a_prefix_is_the_sites_own_afterwards(control: Control, site: Path) -> None:
    target = Target("docs.localhost", space="shared", prefix="/docs/")
    assert (await deploy(control, site, target))[0].site.prefix == "docs"
    await deploy(control, site, Target("my.localhost", space="@shared", prefix="my"))
    (site / "copy.html").unlink()
    outcome, _ = await deploy(control, site, replace(target, prefix=None))
    assert (outcome.sent_files, outcome.deployment_id is None) == (0, False)
    assert (await deploy(control, site, target))[0].deployment_id is None
    assert await control.paths("shared") == [
        *("docs/a/b.css", "docs/empty", "docs/index.html"),
        *("my/a/b.css", "my/copy.html", "my/empty", "my/index.html"),
    ]
    with pytest.raises(CliError, match="serves the folder 'docs' of its space, not '/'"):
        await deploy(control, site, replace(target, prefix=""))


@pytest.mark.parametrize(
    ("prefix", "beside", "spared"),
    [
        ("", "docs", False),
        ("docs", "docs/old", False),
        ("docs", "docs", True),  # the same tree, by two names
        ("docs", "docs-old", True),
        ("docs", "", True),  # a site above gets what is published below
    ],
)
async def test_another_site_of_the_space(control: Control, site: Path, prefix: str, beside: str, spared: bool) -> None:
    here, there = (Target(f"{name}.localhost", "shared", folder) for name, folder in (("a", prefix), ("b", beside)))
    await deploy(control, site, here)
    old = make_tree(site.parent / "old", {"index.html": "old", "old.html": "old", "a/b.css": "css"})
    await deploy(control, old, replace(there, force=True))
    before = await control.paths("shared")
    if spared:
        outcome, _ = await deploy(control, site, here)
        assert len(outcome.removed) == (1 if prefix == beside else 0)
        return
    with pytest.raises(CliError, match=r"this would remove files of b\.localhost"):
        await deploy(control, site, here)
    assert await control.paths("shared") == before
    outcome, _ = await deploy(control, site, replace(here, force=True))
    assert outcome.removed == tuple(f"{beside}/{name}" for name in ("a/b.css", "index.html", "old.html"))


async def test_a_directory_that_holds_the_other_sites_files(control: Control, site: Path) -> None:
    docs = make_tree(site / "docs", {"index.html": "docs"})
    await deploy(control, docs, Target("b.localhost", "shared", "docs"))
    outcome, _ = await deploy(control, site, Target("a.localhost", "shared"))
    assert outcome.removed == ()


async def test_a_space_by_its_id(control: Control, site: Path) -> None:
    space = await control.metadata.create_space(NewSpace(workspace_id=WORKSPACE))
    outcome, _ = await deploy(control, site, replace(MY, space=space.id))
    assert outcome.space_id == space.id
    with pytest.raises(CliError, match="there is no space space_nobody"):
        await deploy(control, site, replace(MY, space="space_nobody"))


async def test_a_bad_prefix(control: Control, site: Path) -> None:
    with pytest.raises(CliError, match=r"--prefix has a '\.\.' segment"):
        await deploy(control, site, replace(MY, prefix="../x"))


async def test_a_bad_domain_stops_before_anything_is_made(control: Control, site: Path) -> None:
    revision = await control.revision()
    with pytest.raises(ApiError, match="underscore"):
        await deploy(control, site, Target("a_b.localhost"))
    assert await control.revision() == revision


async def test_a_domain_of_another_space(control: Control, site: Path) -> None:
    await deploy(control, site)
    with pytest.raises(CliError, match=r"my\.localhost belongs to a site of another space") as caught:
        await deploy(control, site, replace(MY, space="other"))
    assert "--space" in caught.value.next_step


async def test_what_somebody_made_meanwhile_is_used(control: Control, site: Path) -> None:
    """Between our look and our call: here a client that does not see what is there when it first looks."""

    class Late(Client):
        looked = 0

        async def find_space(self, ref: str) -> str | None:
            self.looked += 1
            return await super().find_space(ref) if self.looked > 1 else None

    first, _ = await deploy(control, site)
    async with Late(control.endpoint) as client:
        outcome = await publish(client, scan(site), MY, Uploading())
    assert (outcome.space_id, outcome.site.id) == (first.space_id, first.site.id)


async def test_a_site_that_somebody_made_meanwhile(control: Control, site: Path) -> None:
    class Late(Client):
        async def create_site(self, space_id: str, domain: str, prefix: str, alias: str | None) -> RemoteSite:
            await super().create_site(space_id, domain, prefix, alias)
            return await super().create_site(space_id, domain, prefix, alias)  # as after an answer that was lost

    async with Late(control.endpoint) as client:
        outcome = await publish(client, scan(site), MY, Uploading())
    hosted = await control.metadata.find_site(["my.localhost"])
    assert hosted is not None
    assert hosted.id == outcome.site.id


async def test_other_refusals_are_passed_on(control: Control, site: Path) -> None:
    async with Client(control.endpoint) as client:
        with pytest.raises(ApiError, match="alias"):
            await publish(client, scan(site), replace(MY, space="No Alias"), Uploading())
    too_long = "x" * 5000
    with pytest.raises(ApiError, match="message"):
        await deploy(control, site, replace(MY, message=too_long))


async def test_a_key_that_may_not_make_sites(control: Control, site: Path) -> None:
    scopes = ["spaces:read", "spaces:write", "sites:read", "files:read", "files:write"]
    async with Client(control.endpoint) as client:
        secret = (await client.post("key/create", {"name": "no sites", "scopes": scopes}, secret=True))["secret"]
    async with Client(replace(control.endpoint, key=secret)) as client:
        with pytest.raises(ApiError, match="sites:write"):
            await publish(client, scan(site), MY, Uploading())


@pytest.mark.parametrize("content", ["HOME", "h", "home and more", "x" * (CHUNK + 5)])
async def test_a_file_that_changes_meanwhile(control: Control, site: Path, content: str) -> None:
    found = scan(site)
    await deploy(control, make_tree(site.parent / "old", {"index.html": "old"}))
    (site / "index.html").write_text(content)
    (site / "copy.html").write_text(content)
    revision = await control.revision()
    async with Client(control.endpoint) as client:
        with pytest.raises(CliError, match=r"(index|copy)\.html changed while") as caught:
            await publish(client, found, MY, Uploading())
    assert "run the command again" in caught.value.next_step
    assert await control.paths("my_localhost") == ["index.html"]
    assert await control.metadata.find_site(["my.localhost"]) is not None
    assert await control.revision() >= revision


async def test_a_file_that_goes_meanwhile(control: Control, site: Path) -> None:
    found = scan(site)
    (site / "a" / "b.css").unlink()
    async with Client(control.endpoint) as client:
        with pytest.raises(CliError, match=r"a/b\.css cannot be read any more"):
            await publish(client, found, MY, Uploading())


async def test_a_file_that_is_too_large(control: Control, tmp_path: Path) -> None:
    site = make_tree(tmp_path / "site", {"index.html": "x" * 1_000_001})
    with pytest.raises(ApiError, match=r"index\.html.*larger than the limit"):
        await deploy(control, site)
    assert await control.metadata.find_site(["my.localhost"]) is None


async def test_looking_changes_nothing(control: Control, site: Path) -> None:
    async with Client(control.endpoint) as client:
        revision = await control.revision()
        place = await find_place(client, MY)
        assert (place.alias, place.space_id, place.site, place.prefix) == ("my_localhost", None, None, "")
        assert await control.revision() == revision
        outcome, _ = await deploy(control, site)
        place = await find_place(client, MY)
        assert (place.space_id, place.site) == (outcome.space_id, outcome.site)


def test_warns_of_a_missing_first_page(site: Path) -> None:
    found = scan(site)
    assert find_warnings(found, "index.html") == []
    assert find_warnings(found, "home.html") == ["There is no home.html, so the site's first page will be a 404."]


@pytest.mark.parametrize(
    ("domain", "alias"),
    [
        ("my.localhost", "my_localhost"),
        ("a-b.example.com", "a-b_example_com"),
        ("*.example.com", "_example_com"),
        ("b\u00fccher.example", "xn--bcher-kva_example"),
        ("stra\u00dfe.example", "xn--strae-oqa_example"),
    ],
)
def test_aliases(domain: str, alias: str) -> None:
    assert derive_alias(domain) == alias


def test_a_long_domain_still_has_an_alias_of_its_own() -> None:
    domains = [f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{end}" for end in ("example.com", "example.org")]
    aliases = {derive_alias(domain) for domain in domains}
    assert len(aliases) == 2
    assert {len(alias) for alias in aliases} == {MAX_ALIAS}


def test_domains_as_people_type_them() -> None:
    assert normalise_domain(" My.LocalHost. ") == "my.localhost"
    assert normalise_domain("bu\u0308cher.example") == "b\u00fccher.example"


@pytest.mark.parametrize("text", ["", ".", "http://my.localhost", "my.localhost:8080", "my.localhost/", "a b", "a@b"])
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(CliError, match="is not a domain") as caught:
        normalise_domain(text)
    assert caught.value.exit_code == 2
