"""Requests from the grammar of HTTP: well-formed, with values of every kind in the fields that an edge looks at.

What a message means is known from how it was made, not by reading it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from server.edge.response import etag_of
from storage.models import Blob
from tests.support.corpus import contents, sites
from tests.support.hosting import digest_of


def asked_for(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each file of a site, and of what its rules are about."""
    yield from files.items()
    for line in files.get("_redirects", b"").decode().split("\n"):
        yield line.partition(" ")[0].lstrip("/").replace("*", "x/y").replace(":", ""), b""


# (domain, path, entity tag) of what the corpus' sites have.
FILES = [
    (
        domain.replace("*", "any"),
        path.removeprefix(f"{site.get('prefix', '')}/"),
        etag_of(Blob(digest=digest_of(data), size=len(data))),
    )
    for domain, site in sites().items()
    for path, data in asked_for(contents(site))
]
OWN = '"own"'  # stands for the tag of the file that the request asks for

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
FIELD = VISIBLE + " \t" + "".join(map(chr, range(0x80, 0x100)))

T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """One request: its bytes, and what they say. `headers` have lower-case names; `whole` includes the body."""

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    whole: bytes

    @property
    def closes(self) -> bool:
        """Whether it asks that the connection ends behind its answer."""
        options = b",".join(value.lower() for name, value in self.headers if name == b"connection").split(b",")
        return self.version == "1.0" or b"close" in [option.strip(b" \t") for option in options]


def mostly(usual: SearchStrategy[T], *others: SearchStrategy[T], weight: int = 8) -> SearchStrategy[T]:
    """`usual`, `weight` times as often as each of the others."""
    return st.sampled_from([usual] * weight + [*others]).flatmap(lambda strategy: strategy)


def text(alphabet: str, most: int = 12, least: int = 0) -> SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=most)


def joined(separator: str, items: SearchStrategy[str], most: int = 5) -> SearchStrategy[str]:
    return st.lists(items, min_size=1, max_size=most).map(separator.join)


# Hosts and targets

odd_hosts = (
    st.sampled_from(["nobody.test", "[::1]:80", "a.b.wild.test", "basic.test:99999", "localhost", "[::", "..", ""])
    | text("abcABC.-_:[]@/%*0123456789", 20)
    | joined(".", text("az-0", 8), 4)
)
host_forms: SearchStrategy[Callable[[str], str]] = st.sampled_from(
    [str, str, str, str.upper, "{}.".format, "{}:80".format, "{}:".format]
)
segments = st.sampled_from(
    ["", ".", "..", "...", ".well-known", ".env", "docs", "none", "a.txt", "%2e", "%2E%2e", "%2f", "%5C", "%00", "%",
     "%zz", "%C3%A9", "e%CC%81%20b.txt", "%ff", "%C0%AF", "404", "index", "_headers", "\\", "a;b=c.txt"]
) | text(VISIBLE.replace("#", "").replace("?", ""), 6)  # fmt: skip
odd_paths = st.lists(segments, max_size=6).map("/".join)
path_forms: SearchStrategy[Callable[[str], str]] = st.sampled_from(
    [
        quote,
        quote,
        quote,
        lambda path: quote(path).removesuffix(".html"),
        lambda path: quote(path).removesuffix("index.html"),
        lambda path: quote(path).removesuffix("/index.html"),
        lambda path: quote(path).replace("/", "//"),
        lambda path: "".join(f"%{octet:02x}" if octet != 47 else "/" for octet in path.encode()),
    ]
)
queries = mostly(st.just(""), text(VISIBLE.replace("#", ""), 12).map("?{}".format), st.just("?id=5&x"), weight=2)
odd_targets = st.just("*") | text(VISIBLE, 20, 1)
methods = mostly(
    st.just("GET"), st.sampled_from(["HEAD", "OPTIONS", "POST", "DELETE"]), st.just("HEAD"), text(TOKEN, 8, 1)
)

# Fields

tags = mostly(
    st.just(OWN), st.sampled_from([tag.decode() for *_, tag in FILES]), text("W/, abé", 6).map('"{}"'.format), weight=3
)
weak_tags = mostly(tags, tags.map("W/{}".format), tags.map("w/{}".format), text('"W/, ab', 6), weight=4)
tag_lists = mostly(joined(", ", weak_tags), st.just("*"), weight=4)
valid_dates = st.builds(
    lambda form, second: form.format(second),
    st.sampled_from(
        ["Mon, 21 Sep 2026 14:13:{} GMT", "Monday, 21-Sep-26 14:13:{} GMT", "Mon Sep 21 14:13:{} 2026"],
    ),
    st.integers(18, 22),
)
odd_dates = st.builds(
    "{}, {:02d} {} {} {:02d}:13:{:02d} GMT".format,
    st.sampled_from(["Mon", "Tue", "x"]),
    st.integers(0, 33),
    st.sampled_from(["Sep", "Feb", "sep"]),
    st.sampled_from(["2026", "1600", "1601", "9999", "26"]),
    st.integers(0, 25),
    st.integers(0, 62),
)
dates = mostly(valid_dates, odd_dates, text(FIELD, 12), weight=4)
numbers = mostly(st.integers(0, 12), st.sampled_from([2_097_151, 2_097_152, 10**17, 10**18, 10**19]), weight=5)
specs = mostly(
    st.builds(lambda first, more: f"{first}-{first + more}", numbers, st.integers(0, 5)),
    numbers.map("{}-".format),
    numbers.map("-{}".format),
    st.builds("{}-{}".format, numbers, numbers),
    text("0123456789-, ", 5),
    weight=4,
)
units = mostly(st.just("bytes"), st.sampled_from(["BYTES", "lines", " bytes", ""]), weight=9)
codings = st.sampled_from(["gzip", "br", "zstd", "identity", "x-gzip", "*", "deflate", "GZIP", ""]) | text(TOKEN, 4)
weights = st.sampled_from(["", "", ";q=0", ";q=1", ";q=0.5", "; Q=0.001", ";q=1.001", ";q=", ";q=x", ";x=y;q=0"])
languages = st.sampled_from(["en", "de", "de-CH", "*", "x-", ""])
VALUES: dict[str, SearchStrategy[str]] = {
    "Range": st.builds("{}={}".format, units, mostly(specs, joined(",", specs, 20), weight=2)),
    "If-Range": mostly(tags, tags.map("W/{}".format), dates, weight=3),
    "If-Match": tag_lists,
    "If-None-Match": tag_lists,
    "If-Modified-Since": dates,
    "If-Unmodified-Since": dates,
    "Accept-Encoding": joined(", ", st.builds("{}{}".format, codings, weights)),
    "Accept-Language": joined(",", st.builds("{}{}".format, languages, weights)),
    "Cookie": joined("; ", text(TOKEN + "=", 8) | st.just("beta=1")),
    "Sec-Fetch-Dest": st.sampled_from(["document", "empty", "image", "x"]),
    "Accept": st.sampled_from(["text/html", "*/*", "image/png, */*;q=0.5", "x"]),
    "Want-Repr-Digest": joined(",", st.sampled_from(["sha-256=1", "sha-256=1;a", " sha-512=0", "x", "sha-256=0", ""])),
    "Connection": st.sampled_from(["keep-alive", "Upgrade", "x", "closed", "x, Close"]),
}
# What other names would mean is not known here, or depends on how the bytes arrive (Expect).
KNOWN = {*map(str.lower, VALUES), "host", "content-length", "transfer-encoding", "expect"}
other_fields = st.tuples(text(TOKEN, 10, 1).filter(lambda name: name.lower() not in KNOWN), text(FIELD, 20))
fields = mostly(*(st.tuples(st.just(name), value) for name, value in VALUES.items()), other_fields, weight=3)

# Bodies: header lines, bytes

Body = tuple[list[tuple[str, str]], bytes]
payloads = st.binary(max_size=40) | st.just(b"GET /a.txt HTTP/1.1\r\nHost: basic.test\r\n\r\n") | st.just(b"0\r\n\r\n")
extensions = st.sampled_from(["", "", ";a", " ; a = b", ';a="b;\\""', ";a;b=c"])
trailers = st.sampled_from(["", "X-Sum: 1\r\n", "X: 1\r\nY:\r\n"])
no_body: Body = ([], b"")


def by_length(payload: bytes) -> Body:
    return [("Content-Length", str(len(payload)))], payload


def by_chunks(chunks: list[bytes], extension: str, trailer: str) -> Body:
    lines = [b"%X%b\r\n%b\r\n" % (len(chunk), extension.encode(), chunk) for chunk in chunks if chunk]
    return [("Transfer-Encoding", "chunked")], b"".join([*lines, b"0\r\n", trailer.encode(), b"\r\n"])


bodies = mostly(
    st.just(no_body),
    payloads.map(by_length),
    st.builds(by_chunks, st.lists(payloads, max_size=3), extensions, trailers),
    weight=2,
)

# Whole messages

spaces = st.sampled_from([" ", " ", "", "\t", " \t "])
letter_cases: SearchStrategy[Callable[[str], str]] = st.sampled_from([str.title, str.lower, str.upper, str.swapcase])
host_counts = mostly(st.just(1), st.sampled_from([0, 2]), weight=15)
versions = mostly(st.just("1.1"), st.just("1.0"), weight=15)
schemes = st.sampled_from(["http", "HTTPS", "ws"])


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """One well-formed request; what it asks for may well be nonsense."""
    domain, path, tag = draw(st.sampled_from(FILES))
    host = draw(mostly(host_forms.map(lambda form: form(domain)), odd_hosts))
    target = "/" + draw(mostly(path_forms.map(lambda form: form(path)), odd_paths, weight=4)) + draw(queries)
    target = draw(mostly(st.just(target), schemes.map(lambda scheme: f"{scheme}://{host}{target}"), odd_targets))
    version = draw(versions)
    framing, body = draw(bodies) if version == "1.1" else no_body
    named = [("Host", host)] * draw(host_counts)
    parts, headers = [f"{draw(methods)} {target} HTTP/{version}"], []
    for name, value in draw(st.permutations([*named, *framing, *draw(st.lists(fields, max_size=4))])):
        value = value.replace(OWN, tag.decode())
        parts.append(f"{draw(letter_cases)(name)}:{draw(spaces)}{value}{draw(spaces)}")
        headers.append((name.lower().encode(), value.strip(" \t").encode("latin-1")))
    head = "\r\n".join([*parts, "", ""]).encode("latin-1")
    return Message(parts[0].partition(" ")[0], target.encode(), version, headers, head + body)
