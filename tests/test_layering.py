"""The directions in which the code may depend on itself and on others, and the sizes it keeps to."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("server", "storage")

# Who → what they never import.
FORBIDDEN = {
    "storage": ("server",),
    "server.control": (
        "server.edge.router",
        "server.edge.cache",
        "server.edge.edge",
        "server.edge.changes",
        "server.doors",
    ),
    "server.edge": ("server.control", "server.doors"),
    "server.doors": ("server.control",),
    "server.cli": ("server.control", "server.edge", "server.doors", "storage.sql", "storage.local", "storage.memory"),
}

# Decide, and touch nothing: no `async def`, no clock, no files.
_PURE_EDGE = """
    codings conditions digests header_rules hosts media_types path_index paths patterns preview_access preview_hosts
    redirect_checks redirect_index redirect_rules redirects request response rule_lines visitor widgets
"""
PURE = (
    "server.doors.h2.fields",
    "server.doors.h2.frames",
    "server.doors.h2.hpack",
    "server.doors.head",
    "server.doors.log_format",
    *(f"server.edge.{name}" for name in _PURE_EDGE.split()),
)
IMPURE = frozenset(
    {
        "asyncio",
        "io",
        "os",
        "pathlib",
        "random",
        "secrets",
        "shutil",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "time",
    }
)
CLOCKS = frozenset({"now", "utcnow", "today"})  # of datetime

# Library → the modules or packages that may import it. FastAPI stands on Starlette, so that comes with it.
LIBRARIES = {
    "aiofiles": ("storage.local",),
    "aiosqlite": ("storage.sql",),
    "alembic": ("storage.sql",),
    "asyncpg": ("storage.sql", "server.control.probe"),
    "backports": ("server.compression",),
    "brotli": ("server.compression",),
    "cachetools": ("server.edge.cache",),
    "compression": ("server.compression",),  # of the standard library, from Python 3.14 on
    "cryptography": ("server.certificate", "server.vault"),
    "dns": ("server.control.dns",),
    "fastapi": ("server.control",),
    "httptools": ("server.doors.quick",),
    "httpx": ("server.cli.transport", "server.revocation"),
    "hypercorn": ("server.listener_hypercorn", "server.doors"),
    "idna": ("server.edge.hosts",),
    "jh2": ("server.doors.h2.hpack",),
    "jwt": ("server.control.tokens",),
    "limits": ("server.control.rates",),
    "publicsuffixlist": ("server.edge.hosts",),
    "prometheus_client": ("server.metrics",),
    "pydantic": ("server.config", "server.control"),
    "pydantic_core": ("server.control",),
    "pydantic_settings": ("server.config",),
    "python_multipart": ("server.control.multipart",),
    "rich": ("server.cli.console",),
    "sqlalchemy": ("storage.sql",),
    "starlette": (
        "server.control",
        "server.doors.asgi",
        "server.listener_hypercorn",
        "server.doors.h2.calls",
        "server.listeners",
        "server.reloading",
    ),
    "structlog": ("server.logs", "server.control.errors", "server.control.housekeeping"),
    "typer": ("server.cli",),
    "watchfiles": ("server.dev",),
    "yaml": ("server.control.forms",),
    "uvicorn": ("server.doors.http1", "server.doors.seam", "server.listeners"),
    "uvloop": ("server.worker",),
}

MAX_MODULE = 400  # lines
MAX_FUNCTION = 60  # lines


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the product, by name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that it imports, anywhere in it; `from a import b` is `a.b` if that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            module = str(node.module)
            yield from {name if (name := f"{module}.{alias.name}") in sources() else module for alias in node.names}


def within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("place", FORBIDDEN)
def test_directions(place: str) -> None:
    modules = [name for name in sources() if within(name, (place,))]
    assert modules
    wrong = [(name, used) for name in modules for used in imports(sources()[name]) if within(used, FORBIDDEN[place])]
    assert wrong == []


def test_third_party_libraries_stay_where_they_belong() -> None:
    ours = {*sys.stdlib_module_names, *PACKAGES}
    wrong = [
        (name, used)
        for name, tree in sources().items()
        for used in imports(tree)
        if (top := used.partition(".")[0]) not in ours and not within(name, LIBRARIES.get(top, ()))
    ]
    assert wrong == []


@pytest.mark.parametrize("name", PURE)
def test_pure_modules(name: str) -> None:
    tree = sources()[name]
    assert {used.partition(".")[0] for used in imports(tree)}.isdisjoint(IMPURE)
    for node in ast.walk(tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Call):
            assert not (isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS), ast.unparse(node)
            assert not (isinstance(node.func, ast.Name) and node.func.id == "open"), ast.unparse(node)


def test_pure_modules_are_those_that_make_check_wants_covered() -> None:
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("PURE :="))
    paths = line.removeprefix("PURE :=").strip().split(",")
    assert {path.removesuffix(".py").replace("/", ".") for path in paths} == set(PURE)


def test_no_import_cycles() -> None:
    graph = {name: {used for used in imports(tree) if used in sources()} - {name} for name, tree in sources().items()}
    while leaves := [name for name, used in graph.items() if not used & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}, "each of these imports, at some remove, itself"


GREEDY_GROUP = re.compile(r"(?<!\()\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")


def test_no_pattern_has_a_group_that_keeps_what_it_took() -> None:
    """Until 3.11.5 Python matched too much by a possessive quantifier behind a group (its issue 106052), and Debian 12
    has 3.11.2. Behind a single character, or a set of them, it is right."""
    assert GREEDY_GROUP.search(r"(?:a|bc)*+")
    assert not GREEDY_GROUP.search(r"[$&'()*+,;=]*+")
    found = [
        (name, node.value)
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        if GREEDY_GROUP.search(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    ]
    assert found == []


def test_modules_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > MAX_MODULE} == {}


def test_functions_are_short() -> None:
    long = [
        (name, node.name, length)
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION
    ]
    assert long == []


def test_modules_say_what_they_are() -> None:
    assert [name for name, tree in sources().items() if not ast.get_docstring(tree)] == []
