"""What the Sites API takes: the fields of a site's configuration, each checked, by the names of that API.

In an update null resets a field to what the industry's template says, or removes it where that says nothing.
"""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, get_args
from zoneinfo import available_timezones

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from server.control.fields import NO_NUL, Body, no_nul, refusal
from server.edge.hosts import parse_domain
from storage.errors import Invalid
from storage.ids import SITE_ID
from storage.widgets import SecretKind

Industry: TypeAlias = Literal[
    "restaurant",
    "real_estate",
    "law_firm",
    "ecommerce",
    "healthcare",
    "professional_services",
    "customer_support",
    "custom",
]
Voice: TypeAlias = Literal["alloy", "echo", "fable", "onyx", "nova", "shimmer"]
Position: TypeAlias = Literal["bottom-left", "bottom-center", "bottom-right"]
Size: TypeAlias = Literal["small", "medium", "large"]
SslMode: TypeAlias = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
ProviderName: TypeAlias = Literal["shopify", "airtable", "google", "woocommerce"]

SECRET_KINDS: tuple[SecretKind, ...] = get_args(SecretKind)
READ_ONLY = ("id", "site_id", "created_at", "updated_at")  # of an update
MAX_ITEMS = 100  # of each list
_NOT_ZONES = frozenset({"Factory", "localtime"})  # names of files beside the zones

_COLOR = re.compile(r"#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})")
# RFC 5646 §2.1 without what was registered before it: language, script, region, variants, extensions, private use.
_LANGUAGE = re.compile(
    r"[a-z]{2,3}(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?(?:-(?:[0-9a-z]{5,8}|[0-9][0-9a-z]{3}))*"
    r"(?:-[0-9a-wyz](?:-[0-9a-z]{2,8})+)*(?:-x(?:-[0-9a-z]{1,8})+)?",
    re.IGNORECASE | re.ASCII,
)
_SHOP = re.compile(r"[a-z0-9][a-z0-9-]{0,59}\.myshopify\.com")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")


class SnakeBody(Body):
    """A JSON object whose names are in snake_case."""

    model_config = ConfigDict(alias_generator=None)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise refusal("is blank")
    return text


def _domain(text: str) -> str:
    """Where the page is, on this server or any other: nobody's permission is needed to name a domain."""
    try:
        return parse_domain(text, ())
    except Invalid as exc:
        raise refusal(str(exc)) from None


def _color(text: str) -> str:
    if not _COLOR.fullmatch(text):
        raise refusal("is not a colour in hexadecimal, such as #1d4ed8")
    digits = text[1:].lower()
    return "#" + (digits if len(digits) == 6 else "".join(digit * 2 for digit in digits))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_ZONES


def _timezone(text: str) -> str:
    if text not in _zones():
        raise refusal("is not an IANA time zone, such as America/Los_Angeles")
    return text


def _language(text: str) -> str:
    """RFC 5646, spelt as §2.1.1 recommends."""
    if not _LANGUAGE.fullmatch(text):
        raise refusal("is not a BCP 47 language tag, such as en or pt-BR")
    first, *rest = text.lower().split("-")
    spelt = [first]
    for part in rest:
        singleton = any(len(each) == 1 for each in spelt)
        region, script = len(part) == 2 and not singleton, len(part) == 4 and part.isalpha() and not singleton
        spelt.append(part.upper() if region else part.title() if script else part)
    return "-".join(spelt)


def _page(text: str) -> str:
    pattern = text.removeprefix("!")
    if not pattern.startswith(("/", "*")):
        raise refusal("is not a pattern of a page's path, such as /blog/* or !/blog/drafts/*")
    if any(character in "?#\\" or character.isspace() or not character.isprintable() for character in pattern):
        raise refusal("has a character that is not of a path: leave out spaces, backslashes, ? and #")
    return text


def _site_id(text: str) -> str:
    if not SITE_ID.fullmatch(text):
        raise refusal("must be 8 to 32 of the characters a-z and 0-9")
    return text


def _host(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not _HOST.fullmatch(text):
            raise refusal("is not a host's name or address: leave off scheme, port and path") from None
    return text


def _token(text: str) -> str:
    """RFC 6749 Appendix A: what goes into a header as it is."""
    if not (text.isascii() and text.isprintable()):
        raise refusal("has a character that no token has")
    return text


def _shop(text: str) -> str:
    if not _SHOP.fullmatch(text):
        raise refusal("is not a shop's own domain, such as example.myshopify.com")
    return text


Identifier: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=63), AfterValidator(no_nul), NO_NUL]
Word: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(no_nul), NO_NUL]
Line: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(no_nul), NO_NUL]
Paragraph: TypeAlias = Annotated[str, StringConstraints(max_length=1024), AfterValidator(no_nul), NO_NUL]
Prose: TypeAlias = Annotated[str, StringConstraints(max_length=8192), AfterValidator(no_nul), NO_NUL]
Token: TypeAlias = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096),
    AfterValidator(_token),
    Field(json_schema_extra={"pattern": "^[ -~]+$"}),
]
Pattern: TypeAlias = Annotated[Line, AfterValidator(_page)]
Pages: TypeAlias = Annotated[list[Pattern], Field(max_length=MAX_ITEMS)]
Domain: TypeAlias = Annotated[Line, AfterValidator(_domain)]
BusinessName: TypeAlias = Annotated[Line, AfterValidator(_not_blank)]
SiteId: TypeAlias = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^{SITE_ID.pattern}$"}),
    AfterValidator(_site_id),
]
Color: TypeAlias = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^{_COLOR.pattern}$"}),
    AfterValidator(_color),
]


class Appearance(SnakeBody):
    """How the launcher looks. Of an update, what is absent stays."""

    color: Color | None = None
    position: Position | None = None
    size: Size | None = None
    edge_glow: bool | None = None


class Pronunciation(SnakeBody):
    """How to say a word."""

    word: Word
    say_as: Line


class DataConnection(SnakeBody):
    """Where the site's data is. Write-only; given as a whole, as what is kept of it is never shown."""

    type: Literal["postgres"]
    host: Annotated[Line, AfterValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    database: Identifier
    user: Identifier
    password: Paragraph = ""
    sslmode: SslMode = "prefer"


class OAuthConnection(SnakeBody):
    """Tokens that are revoked when the site is deleted. `shop` names a Shopify shop; `client_id` and `client_secret`
    are of the client that got the tokens, where the provider wants them for a revocation."""

    provider: ProviderName
    access_token: Token
    refresh_token: Token | None = None
    shop: Annotated[Line, AfterValidator(_shop)] | None = None
    client_id: Token | None = None
    client_secret: Token | None = None

    @model_validator(mode="after")
    def _check_shop(self) -> OAuthConnection:
        if (self.provider == "shopify") != (self.shop is not None):
            raise refusal("needs shop if it is Shopify's, such as example.myshopify.com, and only then")
        return self


class _Optional(SnakeBody):
    """What may be left out, and reset by null."""

    business_description: Prose | None = None
    voice: Voice | None = None
    personality: Prose | None = None
    greeting: Paragraph | None = None
    appearance: Appearance | None = None
    timezone: Annotated[Line, AfterValidator(_timezone)] | None = None
    enabled_pages: Pages | None = None
    disabled_pages: Pages | None = None
    restricted_topics: Annotated[list[Line], Field(max_length=MAX_ITEMS)] | None = None
    pronunciations: Annotated[list[Pronunciation], Field(max_length=MAX_ITEMS)] | None = None
    custom_instructions: Prose | None = None
    language: Annotated[Line, AfterValidator(_language)] | None = None
    data_connection: DataConnection | None = None
    oauth_connections: Annotated[list[OAuthConnection], Field(max_length=10)] | None = None

    def given(self) -> dict[str, Any]:
        """What was sent, save for secrets."""
        return self.model_dump(exclude_unset=True, exclude={*map(str, SECRET_KINDS)})

    def secrets(self) -> dict[SecretKind, Any]:
        """What was sent to be kept secret; None removes it."""
        sent = self.model_dump(include={*map(str, SECRET_KINDS)} & self.model_fields_set)
        return {kind: sent[kind] or None for kind in SECRET_KINDS if kind in sent}


class NewSiteConfig(_Optional):
    """A new site: what is left out is as the industry's template has it."""

    business_name: BusinessName
    domain: Domain
    industry: Industry = "custom"
    site_id: SiteId | None = None


class SiteConfigPatch(_Optional):
    """A merge patch (RFC 7396): what is absent stays, null resets, objects merge, lists are replaced."""

    business_name: BusinessName = ""
    domain: Domain = ""
    industry: Industry = "custom"

    @model_validator(mode="before")
    @classmethod
    def _refuse_read_only(cls, value: Any) -> Any:
        if isinstance(value, dict) and (named := [name for name in READ_ONLY if name in value]):
            raise refusal(f"{named[0]} never changes: leave it out")
        return value


def merge(current: dict[str, Any], patch: dict[str, Any], template: dict[str, Any]) -> dict[str, Any]:
    """`current` with `patch` merged into it (RFC 7396 §2), where null gives what `template` has, if it has it."""
    merged = dict(current)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
            if name in template:
                merged[name] = template[name]
        elif isinstance(value, dict):
            merged[name] = merge(merged.get(name, {}), value, template.get(name, {}))
        else:
            merged[name] = value
    return merged
