"""What the documentation claims, held to it: its commands run, its tables are complete, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest
import typer
import yaml

from server import __version__
from server.cli.app import COMMANDS, FIRST_STEPS, app
from server.config import ENV_PREFIX, Settings, describe
from tests.support.corpus_table import render
from tests.support.demo import running_demo

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CHANGELOG.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Names under localhost need no resolver, and `make` only says what it would do: this very suite is one of its targets.
PRELUDE = """
set -euo pipefail
make() { command make --dry-run --directory "$SOURCE" "$@" >/dev/null; }
curl() { command curl --silent --show-error --noproxy '*' "$@"; }
"""


def read(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[str]:
    """The commands of a page that are to be run, in order; those marked `console` are to be looked at."""
    return BLOCK.findall(read(page))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Run commands as the README's reader does, beside a demo that serves: what they print. They have to succeed."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "spacelane").symlink_to(Path(sys.executable).with_name("spacelane"))
    with running_demo(tmp_path) as demo:
        ports = {":8080": f":{demo.edge}", ":8081": f":{demo.control}"}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)},
            "SPACELANE_EDGE": f"127.0.0.1:{demo.edge}",
            "SPACELANE_CONTROL": f"127.0.0.1:{demo.control}",
            "SOURCE": str(ROOT),
        }

        def run(commands: str) -> str:
            for usual, actual in ports.items():
                commands = commands.replace(usual, actual)
            done = subprocess.run(
                ["bash", "-c", PRELUDE + commands],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
            return done.stdout

        yield run


@pytest.mark.slow
def test_readme_commands(run: Callable[[str], str]) -> None:
    first, test, site, api = blocks("README.md")
    assert (run(first), run(test)) == ("", "")
    said = run(site)
    assert "<h1>Hello from orbit</h1>" in said
    assert re.search(r"Visit +http://my\.localhost:\d+/", said)
    said = run(api)
    assert said.count("<h1>Hello from orbit</h1>") == 1
    assert '"error"' not in said
    assert '"hello.html"' in said


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != "README.md" and blocks(page)])
def test_commands_of_the_other_pages(run: Callable[[str], str], page: str) -> None:
    for block in blocks(page):
        assert run(block)


def test_the_readme_starts_a_site_in_five_lines() -> None:
    site, api = blocks("README.md")[2:]
    assert len(site.splitlines()) <= 5
    assert sum(line.startswith("curl ") for line in api.splitlines()) == 3


def test_every_setting_is_documented() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (?:`--([a-z-]+)`)? ?\| `(.+?)` \| (.+) \|$", read("docs/configuration.md"), re.M
    )
    defaults = {name: value for name, value, _ in describe(Settings())}
    assert rows == [
        (name, ENV_PREFIX + name.upper(), option, defaults[name], field.description)
        for (name, field), option in zip(Settings.model_fields.items(), (row[2] for row in rows), strict=True)
    ]
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    assert {f"--{option}" for *_, option, _, _ in rows if option} == {
        option for parameter in serve.params for option in parameter.opts
    } - {"--print-config"}


def test_every_option_is_documented() -> None:
    page = read("docs/cli.md")
    pending = [typer.main.get_command(app)]
    options = set()
    while pending:
        command = pending.pop()
        pending += getattr(command, "commands", {}).values()
        options |= {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert len(options) > 20
    assert {option for option in options if f"`{option}" not in page} == set()


def test_the_changelog_is_of_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\] - \d{4}-\d{2}-\d{2}$", read("CHANGELOG.md"), re.M)
    assert versions[0] == __version__


@pytest.mark.parametrize("page", [*PAGES, "Dockerfile"])
def test_variables_are_read_by_somebody(page: str) -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {"SPACELANE_URL", "SPACELANE_KEY"}
    assert set(re.findall(rf"{ENV_PREFIX}[A-Z_]+", read(page))) <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", read(page))
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_the_table_of_cases_is_of_this_corpus() -> None:
    page = read("docs/http.md")
    assert render(page) == page, "write it anew: python -m tests.support.corpus_table"


def test_make_targets_are_listed() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    listed = subprocess.run(["make", "-C", ROOT, "-s", "help"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines() if line.startswith("  make ")} == targets
    assert {"setup", "demo", "serve", "test", "check", "bench"} <= targets


FENCED = re.compile(r"^```(?:sh|console|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^ *(?:- )?(?:run: )?(?:\[cyan\])?(?:\$ )?(?:[A-Z_]+=\S+ )?spacelane (.+)$", re.MULTILINE)
OPERATORS = {"|", ">", ">>", "&&", "#"}


def shown_commands(text: str) -> list[list[str]]:
    """The command lines that a page's blocks, or a command's help, show of ours: their words."""
    found = []
    for line in SHOWN.findall(text.replace("\\\n", " ")):
        words = shlex.split(line.partition("[/cyan]")[0])
        found.append(list(takewhile(lambda word: word not in OPERATORS, words)))
    return found


def parse(words: list[str]) -> None:
    """Raises a usage error for a command or an option that is not there, or an argument that lacks or is too many."""
    command = typer.main.get_command(app)
    context = None
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
        context = command.context_class(command, parent=context, info_name=command.name)
    command.parse_args(context, words)  # type: ignore[arg-type]


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_shown_are_understood(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACELANE_KEY", "sk-x")
    for block in FENCED.findall(read(page)):
        for words in shown_commands(block):
            parse(words)


def test_examples_of_help_are_understood() -> None:
    texts = [FIRST_STEPS, *(epilog for commands in COMMANDS.values() for _, epilog in commands.values())]
    lines = [words for text in texts for words in shown_commands(text)]
    assert len(lines) > 50
    for words in lines:
        parse(words)


def test_recipes_are_yaml() -> None:
    actions, gitlab = (
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", read("docs/ci.md"), re.M | re.S)
    )
    assert [step["name"] for step in actions["jobs"]["publish"]["steps"] if "name" in step] == ["Preview", "Publish"]
    assert {"preview", "publish"} <= set(gitlab)
