"""What answers look like: one model for each, which is also how the reference documents it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SerializationInfo,
    WithJsonSchema,
    computed_field,
)
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from server.control.errors import CODES, Detail
from server.edge.media_types import content_type
from storage.calls import ActorKind
from storage.models import Digest, Millis, Mode
from storage.paths import path_id

V = TypeVar("V", bound="View")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def render_time(time: Millis) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return (EPOCH + timedelta(milliseconds=time)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> Millis:
    """Of ISO 8601 with a zone, a millisecond's fraction dropped; raises `ValueError`."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("has no zone")
    return (time - EPOCH) // timedelta(milliseconds=1)


def _time(time: Millis, info: SerializationInfo) -> str | int:
    return time if (info.context or {}).get("sdk") else render_time(time)


Time: TypeAlias = Annotated[
    int,
    PlainSerializer(_time, when_used="unless-none"),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "description": "Epoch milliseconds for keys of the sdk dialect"}
    ),
]


def _times(told: Mapping[str, Any], info: SerializationInfo) -> dict[str, Any]:
    """The fields of an object, of which those that are times end in At."""
    return {
        name: _time(value, info) if name.endswith("At") and isinstance(value, int) else value
        for name, value in told.items()
    }


def _prefix(folder: str) -> str:
    return f"/{folder}" if folder else ""


PrefixPath: TypeAlias = Annotated[str, PlainSerializer(_prefix)]


class View(BaseModel):
    """Made from a store's value, written in camelCase."""

    model_config = ConfigDict(from_attributes=True, alias_generator=to_camel, validate_by_name=True)

    def render(self, *, sdk: bool) -> Response:
        """The answer; `sdk` writes times as epoch milliseconds."""
        return Response(self.dump_json(sdk=sdk), media_type="application/json")

    def dump_json(self, *, sdk: bool) -> str:
        """As JSON, without line breaks."""
        return self.model_dump_json(by_alias=True, context={"sdk": sdk})

    def dump(self, *, sdk: bool) -> dict[str, Any]:
        """As plain values, by the names of the JSON."""
        return self.model_dump(by_alias=True, context={"sdk": sdk})


class ErrorBody(BaseModel):
    message: str
    code: Annotated[str, WithJsonSchema({"type": "string", "enum": list(CODES)})]
    details: list[Detail] = []


class ErrorView(BaseModel):
    """Every refusal. Keys of the `sdk` dialect find `message` and `code` at the top level too."""

    error: ErrorBody


class IdView(View):
    id: str


class ListView(View, Generic[V]):
    """`cursor` continues the list; it is empty at the end."""

    items: list[V]
    cursor: str


class SpaceView(View):
    id: str
    alias: str | None
    name: str
    description: str
    contact_id: str | None
    meta: Mapping[str, Any]
    created_at: Time
    updated_at: Time


class SiteView(View):
    id: str
    space_id: str
    alias: str | None
    name: str
    description: str
    domain: str
    prefix: PrefixPath
    index: str
    not_found: str
    meta: Mapping[str, Any]
    created_at: Time
    updated_at: Time


class NamedFileView(View):
    """A file that the site names, and whether it is in the space."""

    path: str
    exists: bool


class ProblemView(View):
    """A line of a rule file that does not do what it says. `leftOut`: it has no effect at all."""

    file: str
    line: int
    text: str
    reason: str
    left_out: bool


class DnsView(View):
    """Where the DNS says that the domain is. Addresses of private networks are left out."""

    state: Literal["found", "missing", "private", "unknown"]
    addresses: list[str]


class CertificateView(View):
    """Whether the server's certificate is for the domain; `none` where visitors are not served over TLS."""

    state: Literal["none", "valid", "mismatch", "expired", "notYetValid"]
    expires_at: Time | None


class WorkerView(View):
    """A process that serves visitors. One that has not `applied` the site's last change does so before it answers."""

    name: str
    state: str
    applied: bool


class SiteStatusView(View):
    """`unlisted` counts problems beyond those that are listed."""

    id: str
    domain: str
    index: NamedFileView
    not_found: NamedFileView
    dns: DnsView
    certificate: CertificateView
    workers: list[WorkerView]
    problems: list[ProblemView]
    unlisted: int


class PathView(View):
    """A file or folder of the space, by its id and its path."""

    path: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def id(self) -> str:
        return path_id(self.path)


class LinkView(View):
    """`url` gives the file to anybody, for five minutes."""

    id: str
    url: str


class EntryView(PathView):
    """A file, or a folder that has files below it."""

    size: int
    updated_at: Time
    is_directory: bool
    digest: Digest | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def content_type(self) -> str | None:
        return None if self.is_directory else content_type(self.path)


class DeploymentView(View):
    id: str
    space_id: str
    mode: Mode
    prefix: PrefixPath
    message: str
    base: int
    file_count: int
    byte_count: int
    revision: int | None
    created_at: Time
    activated_at: Time | None


class NewDeploymentView(View):
    """`missing` are the digests to upload before it can be activated; `base` the revision it started from."""

    id: str
    missing: list[Digest]
    base: int


class ActivatedView(View):
    id: str
    revision: int


class WorkspaceView(View):
    """A limit that is null is none."""

    id: str
    alias: str | None
    name: str
    max_sites: int | None
    max_files: int | None
    max_bytes: int | None
    max_widgets: int | None
    requests_per_minute: int | None
    created_at: Time
    updated_at: Time


class UsageView(View):
    """`bytes` are of every content that is kept, each counted once, replaced files included; `widgets` are the sites of
    the Sites API."""

    sites: int
    files: int
    bytes: int
    widgets: int


class WorkspaceUseView(WorkspaceView):
    usage: UsageView


class KeyView(View):
    id: str
    name: str
    scopes: Annotated[list[str], BeforeValidator(sorted)]
    dialect: str
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None


Told: TypeAlias = Annotated[Mapping[str, Any] | None, PlainSerializer(_times, when_used="unless-none")]


class ActorView(View):
    """Who made a change: the holder of a key, of a token that it made, of the root key, or the server itself."""

    kind: ActorKind
    key_id: str | None


class AuditView(View):
    """Of an update, `before` and `after` have only what changed; a field that is too large is `{"$omitted": bytes}`.
    Of files, they have the digests by path, of ten at most, and the `count` of all."""

    id: str
    actor: ActorView
    request_id: str | None
    action: str
    kind: str
    object_id: str
    space_id: str | None
    before: Told
    after: Told
    created_at: Time


class NewTokenView(View):
    """`token` goes where a secret key would: `Authorization: Bearer …`."""

    token: str
    expires_at: Time


class NewKeyView(View):
    """`secret` is shown here and never again."""

    id: str
    secret: str
