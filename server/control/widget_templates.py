"""The industries' templates: what a site of the Sites API is like where nobody has said otherwise."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, get_args

from server.control.widget_fields import Industry, NewSiteConfig, merge

FILE = "templates.toml"


@cache
def templates() -> Mapping[Industry, dict[str, Any]]:
    """By industry; each is all that a site has but its name and domain. Raises what pydantic does for a bad file."""
    tables = tomllib.loads(files("server.control").joinpath(FILE).read_text("utf-8"))
    default = tables.pop("default")
    return {industry: _check(merge(default, tables[industry], {})) for industry in get_args(Industry)}


def _check(template: dict[str, Any]) -> dict[str, Any]:
    """What is said of a template has to be what somebody could have sent."""
    given = NewSiteConfig(business_name="-", domain="example.com", **template).given()
    return {name: value for name, value in given.items() if name in template}
