"""The kinds of field that request bodies are made of. Null and "" clear a text; what cannot be kept is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from server.control.openapi import NO_NUL
from storage.errors import Invalid
from storage.paths import parse_folder, parse_path

MAX_NAME = 256
MAX_DESCRIPTION = 4096
MAX_WHOLE = 2**53 - 1  # a number that any JSON parser can carry
MAX_FIELDS = 1000  # of a body, so that what names those that are unknown is bounded
MAX_META_KEYS = 4096  # of an update: 16 KiB hold fewer
ALIAS = re.compile(r"[a-z0-9_-]{1,128}")


class Body(BaseModel):
    """A JSON object: strict types, no unknown fields, names in camelCase."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _bound(cls, value: Any) -> Any:
        """pydantic would collect an error for each unknown field before anything could cut the list."""
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            raise refusal(f"has {len(value)} fields, far more than are known")
        return value


class NoFields(Body):
    """An empty object."""


def refusal(reason: str) -> PydanticCustomError:
    """A validation error whose message is `reason`."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def no_nul(text: str) -> str:
    if "\0" in text:  # PostgreSQL cannot keep it
        raise refusal("has a NUL character")
    return text


def _parsed(parse: Callable[[str], str]) -> Callable[[str | None], str | None]:
    """`parse` for a text that may be cleared; its `Invalid` becomes the field's error."""

    def validate(text: str | None) -> str | None:
        if not text:
            return None
        try:
            return parse(text)
        except Invalid as exc:
            raise refusal(str(exc)) from None

    return validate


def _parse_alias(text: str) -> str:
    if not ALIAS.fullmatch(text):
        raise refusal("must be 1 to 128 of the characters a-z, 0-9, _ and -")
    return text


def _parse_named_file(text: str) -> str:
    if text.startswith("/"):
        raise refusal("starts with a slash: write it relative to the prefix, such as index.html")
    return parse_path(text)


def _unwrap_update(meta: Any) -> Any:
    """`{"$update": {…}}` means the same merge as the object in it."""
    if isinstance(meta, dict) and "$update" in meta:
        if len(meta) > 1:
            raise refusal("has keys beside $update: put them into it")
        meta = meta["$update"]
    if isinstance(meta, dict) and len(meta) > MAX_META_KEYS:
        raise refusal(f"has more than {MAX_META_KEYS} keys")
    return meta


def _meta_key(key: str) -> str:
    if key.startswith("_"):
        raise refusal("starts with _, which is reserved")
    return no_nul(key)


def _meta_value(value: Any) -> Any:
    """What JSON allows but a store cannot keep is refused: NUL characters, numbers beyond a double's range."""
    match value:
        case str():
            no_nul(value)
        case float() if math.isinf(value):
            raise refusal("has a number that is too large")
        case list():
            for item in value:
                _meta_value(item)
        case dict():
            for key, item in value.items():
                no_nul(key)
                _meta_value(item)
    return value


def _whole(value: object) -> object:
    """JSON knows one kind of number: 3.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _or_empty(text: str | None) -> str:
    return text or ""


def _or_none(text: str | None) -> str | None:
    return text or None


# What the document says beside a validator's own checks, whose messages are better than those of patterns.
NUL_FREE = Field(json_schema_extra={"pattern": NO_NUL})

WHOLE = BeforeValidator(_whole)  # behind the bounds in an annotation: else the document does not tell them
ShortText: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_NAME), AfterValidator(no_nul), NUL_FREE]
LongText: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION), AfterValidator(no_nul), NUL_FREE]

Name: TypeAlias = Annotated[ShortText | None, AfterValidator(_or_empty)]
Description: TypeAlias = Annotated[LongText | None, AfterValidator(_or_empty)]
Reference: TypeAlias = Annotated[
    ShortText | None, AfterValidator(_or_none), Field(description="whatever names it in your own records")
]
Alias: TypeAlias = Annotated[
    Annotated[str, Field(json_schema_extra={"pattern": "^[a-z0-9_-]{0,128}$"})] | None,
    AfterValidator(_parsed(_parse_alias)),
    Field(description="1 to 128 of `a-z 0-9 _ -`, unique in the workspace; stands for the id in paths"),
]
Folder: TypeAlias = Annotated[
    str | None,
    AfterValidator(_parsed(parse_folder)),
    AfterValidator(_or_empty),
    Field(description="a folder of the space, such as `/app`; by default its root"),
]
NamedFile: TypeAlias = Annotated[
    str | None,
    AfterValidator(_parsed(_parse_named_file)),
    Field(description="a file below the prefix, which must exist once it is named"),
]
Access: TypeAlias = Annotated[
    Literal["public", "private", ""] | None,
    AfterValidator(lambda access: access or "public"),
    Field(description="who may see previews of deployments: anybody, or those alone who have a signed link"),
]
Switch: TypeAlias = Annotated[
    bool | None,
    AfterValidator(lambda on: on is not False),
    Field(description="whether scripts, styles, fonts and images that a deployment removes are served a while longer"),
]
MetaUpdate: TypeAlias = Annotated[
    dict[Annotated[str, AfterValidator(_meta_key)], Annotated[Any, AfterValidator(_meta_value)]],
    BeforeValidator(_unwrap_update),
    Field(
        description="yours: up to 16 KiB of JSON, keys not starting with `_`; merges, and null removes a key",
        json_schema_extra={"propertyNames": {"pattern": "^[^_\\u0000][^\\u0000]*$|^$"}},
    ),
]
