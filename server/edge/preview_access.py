"""Who may see a preview, and what its answers say beside the site's. Pure: keys and the time are passed in.

A private preview is opened by a link: its address with a pass in the query. The pass is a time, and an HMAC-SHA256 of
it with the site and the deployment. Whoever comes by the link gets the pass as a cookie and is led to the address
without it; from then on the cookie is looked for, before anything of the site is.

Without a pass the answer is 403. A 401 has to offer a way to authenticate (RFC 9110 §15.5.2), and there is none but
the link.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from urllib.parse import urlencode

from server.edge.paths import encode_path
from server.edge.request import Request
from server.edge.response import Headers, Representation, Response, is_about_caching, page
from server.edge.visitor import MAX_COOKIES
from storage.previews import Preview

PARAMETER = "spacelane-preview"
COOKIE = "spacelane-preview"
MAX_SECONDS = 30 * 24 * 3600  # that a link may last
MAX_PASSES = 4  # of one request that are looked at: each costs some microseconds

NOINDEX = (b"x-robots-tag", b"noindex")
PRIVATE = (b"cache-control", b"private, no-store")

_PURPOSE = b"spacelane preview key"
_PASS = re.compile(r"([0-9]{1,11})\.([0-9a-f]{64})")

NO_PASS = page(
    403,
    "This preview is private. Open it by the link that the people who run the site have for it; one that you have may "
    "have expired: ask for a new one.",
)


def derive_key(secret: str) -> bytes:
    """The key of passes that goes with a secret that tokens are signed with: who has the one cannot tell the other."""
    return hmac.digest(secret.encode(), _PURPOSE, "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Previews:
    """Where previews are, and whom private ones are open to.

    Passes are signed with the first of `keys`, and believed if any has signed them. `secure`: visitors come over TLS.
    """

    platform_domains: tuple[str, ...] = ()
    keys: tuple[bytes, ...] = ()
    secure: bool = False

    @property
    def cookie(self) -> str:
        """Its name. Browsers take the prefix to be theirs: no other host can set it (RFC 6265bis §4.1.3.2)."""
        return f"__Host-{COOKIE}" if self.secure else COOKIE

    def sign(self, site_id: str, deployment_id: str, expires: int) -> str:
        """A pass that lasts until then, in seconds since the epoch."""
        return f"{expires}.{_signature(self.keys[0], site_id, deployment_id, expires)}"

    def link(self, url: str, given: str) -> str:
        """`url`, which has no query, with a pass."""
        return f"{url}?{urlencode({PARAMETER: given})}"

    def holds(self, site_id: str, deployment_id: str, given: str, now: float) -> int | None:
        """When the pass ends, if it was made by `sign` for this preview and is not over."""
        found = _PASS.fullmatch(given)
        if found is None:
            return None
        expires = int(found[1])
        signatures = [_signature(key, site_id, deployment_id, expires) for key in self.keys]
        same = [hmac.compare_digest(signature, found[2]) for signature in signatures]
        return expires if any(same) and now < expires else None

    def admit(self, site_id: str, preview: Preview, path: str, request: Request, now: float) -> Representation | None:
        """What a visitor of the preview gets who has come by a link, or may not see it; None: what there is to see.

        `path` is the request's (from `decode_path`), so that nobody is led to another host by it.
        """
        if not preview.private:
            return None
        rest, given = _split_query(request.query)
        for value in given[:MAX_PASSES]:
            if (expires := self.holds(site_id, preview.deployment_id, value, now)) is not None:
                location = encode_path(path) + (f"?{rest}" if rest else "")
                return self._open(location, value, int(expires - now))
        passes = islice(_cookies(request.cookie, self.cookie), MAX_PASSES)
        if any(self.holds(site_id, preview.deployment_id, value, now) is not None for value in passes):
            return None
        return NO_PASS

    def _open(self, location: str, given: str, seconds: int) -> Representation:
        """303, so that whatever the method was, what follows is a GET."""
        attributes = f"Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax" + ("; Secure" if self.secure else "")
        extra = (
            (b"location", location.encode("ascii")),
            (b"set-cookie", f"{self.cookie}={given}; {attributes}".encode("ascii")),
        )
        return page(303, "The preview is open to you now.", extra)


NO_PREVIEWS = Previews()


def mark(response: Response, preview: Preview) -> Response:
    """An answer of a preview as it is sent: search engines keep off, and of a private one so do all caches."""
    return replace(response, headers=mark_headers(response.headers, preview))


def mark_headers(headers: Headers, preview: Preview) -> Headers:
    """As `mark`, of headers alone."""
    if preview.private:
        headers = (*(header for header in headers if not is_about_caching(header[0])), PRIVATE)
    return (*headers, NOINDEX)


def _signature(key: bytes, site_id: str, deployment_id: str, expires: int) -> str:
    # No id has a line break.
    return hmac.new(key, f"{expires}\n{site_id}\n{deployment_id}".encode(), "sha256").hexdigest()


def _split_query(query: str) -> tuple[str, list[str]]:
    """The query without passes, and the passes."""
    if PARAMETER not in query:
        return query, []
    parts = query.split("&")
    start = f"{PARAMETER}="
    given = [part.removeprefix(start) for part in parts if part.startswith(start)]
    return "&".join(part for part in parts if not part.startswith(start)), given


def _cookies(field: str | None, name: str) -> Iterator[str]:
    """The values of every cookie of that name."""
    parts: Iterable[str] = (field or "").split(";", MAX_COOKIES)[:MAX_COOKIES]
    for part in parts:
        key, equals, value = part.strip(" \t").partition("=")
        if equals and key == name:
            yield value
