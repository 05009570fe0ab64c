"""What is kept, as frozen values with no I/O.

Times are integers: milliseconds since the epoch, UTC (`Millis`). Revisions are drawn from one counter for the whole
store and only ever grow, so "the latest of these" is `max`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeVar, get_args

from storage.errors import Invalid
from storage.previews import Preview, PreviewAccess

Millis: TypeAlias = int
Digest: TypeAlias = str  # the SHA-256 of the content, 64 lower-case hexadecimal digits
Meta: TypeAlias = Mapping[str, Any]  # a JSON object
Dialect: TypeAlias = Literal["spacelane", "sdk", "sites"]
Mode: TypeAlias = Literal["replace", "merge"]
Coding: TypeAlias = Literal["gzip", "br", "zstd"]  # as HTTP names content codings

DEFAULT_INDEX = "index.html"
DEFAULT_NOT_FOUND = "404.html"
MAX_META_BYTES = 16 * 1024
CODINGS: tuple[Coding, ...] = get_args(Coding)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A secret key, known by the hash of its secret alone."""

    id: str
    workspace_id: str
    name: str
    secret_hash: str  # SHA-256 of the secret, hexadecimal: 256 random bits need no slow hash
    scopes: frozenset[str]
    dialect: Dialect
    created_at: Millis
    expires_at: Millis | None = None
    revoked_at: Millis | None = None
    last_used_at: Millis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Owns files. `revision` is the store's revision at which its files last changed."""

    id: str
    workspace_id: str
    alias: str | None
    name: str
    description: str
    contact_id: str | None
    meta: Meta
    revision: int
    created_at: Millis
    updated_at: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Binds a domain to a space.

    `domain` is in A-labels, possibly `*.` and a domain. `prefix` is a folder in the space (`""`: its root).
    `named_index` and `named_not_found` are None until somebody names them; only a named one must exist.
    `settings_at` is when an update last changed what visitors get (None: never since creation). `previews` says who may
    see its previews; `skew_protection` that what an activation removes may still be shown for a while.
    """

    id: str
    workspace_id: str
    space_id: str
    domain: str
    prefix: str
    named_index: str | None
    named_not_found: str | None
    alias: str | None
    name: str
    description: str
    meta: Meta
    revision: int  # the store's revision at which the site itself last changed
    created_at: Millis
    updated_at: Millis
    settings_at: Millis | None = None
    previews: PreviewAccess = "public"
    skew_protection: bool = True

    @property
    def index(self) -> str:
        """The file that answers for a folder, relative to it."""
        return self.named_index or DEFAULT_INDEX

    @property
    def not_found(self) -> str:
        """The file that answers for what is missing, relative to a folder."""
        return self.named_not_found or DEFAULT_NOT_FOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedSite:
    """What the edge needs of a site, and no more: it keeps many of them, and their owners choose how large the rest is.

    Read in one query with its space's revisions: `files_revision` is that of the files, `variants_revision` that of
    their variants or of the end of a window of skew protection, `skew_revision` that of the activation whose removals
    such a window still makes up for (None: none), `widget` the `site_id` in the tag that its pages are to have (None:
    they have none).

    With a `preview` it is the site as it shows that deployment: `files_revision` is what the deployment started from,
    `created_at` not before its creation. `key` tells it apart from everything else that is hosted; `id` is the site's.
    The other fields are as in `Site`.
    """

    id: str
    space_id: str
    domain: str
    prefix: str
    index: str
    not_found: str
    revision: int
    created_at: Millis
    settings_at: Millis | None
    files_revision: int
    variants_revision: int
    skew_revision: int | None = None
    preview: Preview | None = None
    widget: str | None = None
    key: str = field(init=False, repr=False)  # made once, because every look-up in a cache wants it

    def __post_init__(self) -> None:
        key = self.id if self.preview is None else f"{self.id} {self.preview.deployment_id}"
        object.__setattr__(self, "key", key)

    @classmethod
    def of(
        cls,
        site: Site,
        files_revision: int,
        variants_revision: int,
        skew_revision: int | None = None,
        widget: str | None = None,
    ) -> HostedSite:
        """The view of `site`."""
        return cls(
            id=site.id,
            space_id=site.space_id,
            domain=site.domain,
            prefix=site.prefix,
            index=site.index,
            not_found=site.not_found,
            revision=site.revision,
            created_at=site.created_at,
            settings_at=site.settings_at,
            files_revision=files_revision,
            variants_revision=variants_revision,
            skew_revision=skew_revision if site.skew_protection else None,
            widget=widget,
        )

    @property
    def version(self) -> int:
        """Moves with everything that can change what the site serves."""
        return max(self.revision, self.files_revision, self.variants_revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Content by its digest; `size` in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A content in one coding: a blob of its own."""

    coding: Coding
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One path's content from `from_revision` up to, but without, `to_revision` (None: still live).

    `modified_at` is when this content came to this path; no two contents of a path share the second, so that
    Last-Modified, which counts seconds, tells them apart. `removed_at` is set together with `to_revision`.
    `variants`, by coding, are what the edge's look-up fills in, and nothing else does.
    """

    path: str
    digest: Digest
    size: int
    modified_at: Millis
    from_revision: int
    to_revision: int | None = None
    removed_at: Millis | None = None
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncoded:
    """A live file of a workspace whose content has not been tried in each coding; `tried` has those it has been in.

    `revision` is where the file begins; (revision, path) is its place in the list of them.
    """

    workspace_id: str
    revision: int
    path: str
    digest: Digest
    size: int
    tried: frozenset[Coding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of a folder's listing: a file, or a folder (no digest; size 0; the latest change below it)."""

    path: str
    is_directory: bool
    size: int
    updated_at: Millis
    digest: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A manifest that becomes part of a space at once, when it is activated.

    `base` is the space's revision it was created from; `revision` the one its activation made (None: not yet).
    """

    id: str
    workspace_id: str
    space_id: str
    mode: Mode
    prefix: str
    message: str
    base: int
    file_count: int
    byte_count: int
    revision: int | None
    created_at: Millis
    activated_at: Millis | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of the change log: what moved at `revision`.

    `hosts` are the domains whose site appeared, changed or went; `space_id`, if given, the space whose files changed
    or which went; `widget`, if given, the `site_id` whose widget appeared, changed or went. An edge forgets what it
    knows of all three.
    """

    revision: int
    kind: str
    hosts: tuple[str, ...] = ()
    space_id: str | None = None
    widget: str | None = None

    @property
    def freed(self) -> tuple[str, ...]:
        """The domains whose sites are deleted. One that only moves is told from its old domain by the next request."""
        return self.hosts if self.kind in ("site.delete", "space.delete") else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list; `next` continues after it (None: the end was reached)."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which part of a list: at most `take` after `after` (an id or a path, as the list says), in that direction."""

    after: str | None = None
    take: int = 20
    descending: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    workspace_id: str
    name: str
    secret_hash: str
    scopes: frozenset[str]
    dialect: Dialect = "spacelane"
    expires_at: Millis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSpace:
    workspace_id: str
    alias: str | None = None
    name: str = ""
    description: str = ""
    contact_id: str | None = None
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSite:
    space_id: str
    domain: str
    prefix: str = ""
    named_index: str | None = None
    named_not_found: str | None = None
    alias: str | None = None
    name: str = ""
    description: str = ""
    meta: Meta = field(default_factory=dict)
    previews: PreviewAccess = "public"
    skew_protection: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDeployment:
    space_id: str
    files: Mapping[str, Blob]  # by path relative to the space's root, prefix included
    mode: Mode = "replace"
    prefix: str = ""
    message: str = ""
    base: int | None = None  # the revision of the space that it starts from; None: the latest


class SpacePatch(TypedDict, total=False):
    """What to change; what is absent stays. `meta` merges (see `merge_meta`)."""

    alias: str | None
    name: str
    description: str
    contact_id: str | None
    meta: Meta


class SitePatch(TypedDict, total=False):
    """What to change; what is absent stays. None for a named file restores the default."""

    domain: str
    prefix: str
    named_index: str | None
    named_not_found: str | None
    alias: str | None
    name: str
    description: str
    meta: Meta
    previews: PreviewAccess
    skew_protection: bool


SERVED_FIELDS = frozenset({"domain", "prefix", "named_index", "named_not_found"})  # of a SitePatch: visitors see them


def merge_meta(old: Meta, patch: Meta) -> dict[str, Any]:
    """`old` with the keys of `patch` over it; a key whose new value is None goes. Raises `Invalid` past 16 KiB."""
    merged = {key: value for key, value in {**old, **patch}.items() if value is not None}
    try:
        size = len(json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode())
    except UnicodeEncodeError:
        raise Invalid("meta", "has a character that UTF-8 cannot carry (a lone surrogate)") from None
    if size > MAX_META_BYTES:
        raise Invalid("meta", f"is larger than {MAX_META_BYTES} bytes of JSON")
    return merged
