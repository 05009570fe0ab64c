"""Strategies for what tenants and visitors write: rule files, and Accept-Encoding with what it means."""

from __future__ import annotations

from hypothesis import strategies as st

from server.edge.codings import CODINGS

# `_redirects`: lines of words that mean something somewhere, and any text.

_WORDS = """
    / /a /b /a/b /a/* /b/* /* /:x /:x/b /a/:x /:splat /b/:splat /:x/:splat //a /.. /..:splat /:x.:y /:x:x
    /a/:splat/:splat/c https://e.example/:splat https://e.example:splat https://e.example http:// id=1 id=:x id=:y q=:x
    200 301 302! 404 999 Language=de Cookie=c Country=x #c /b#f /b?q=:x /b? /é /%C3%A9 /%zz /\\a ! * : = ? %
"""
_redirect_words = st.sampled_from([*_WORDS.split(), "\r", "\x00"])
_redirect_lines = st.lists(_redirect_words, max_size=6).map(" ".join)
redirect_files = st.lists(st.one_of(_redirect_lines, st.text(max_size=12)), max_size=8).map("\n".join)

# `_headers`, likewise.

_header_lines = st.one_of(
    st.sampled_from(
        ["/*", "/a", "/a/*", "/:x", "/*/b", "https://x/*", "  X: 1", "  x: 2", "\tY:a,b", "  ! X", "  !", "  Vary: Z",
         "  ! Vary", "  Set-Cookie: a=1", "  Set-Cookie: a=1; Domain=x", "  ETag: 1", "  Cache-Control: max-age=9",
         "  ! Cache-Control", "  Content-Type: text/x", "  X-Content-Type-Options: nosniff", "  # note", "# note",
         "", "X: 1", "  X: a\rb", "  X: \x00", "  X: é", " :", "  a:b:c"]
    ),
    st.text(max_size=12),
)  # fmt: skip
header_files = st.lists(_header_lines, max_size=12).map("\n".join)

# Accept-Encoding

_names = st.sampled_from([*CODINGS, "x-gzip", "*", "deflate", "compress"])
_good = st.sampled_from(["", ";q=1", ";q=1.000", ";q=0.001", ";q=0.5", " ; Q=0.9", "\t;\tq=1."])
_zero = st.sampled_from([";q=0", ";q=0.", ";q=0.000", " ; Q=0.0"])
_bad = st.sampled_from(
    [";", ";q", ";q=", ";q=2", ";q=1.001", ";q=0.0001", ";q=-1", ";q=.5", ";x=1", ";q=1;x", ";q=\u00b9"]
)
_blank = st.sampled_from(["", " ", "\t", ", ", " ,\t,"])


@st.composite
def accept_encodings(draw: st.DrawFn) -> tuple[str, frozenset[str]]:
    """A field, and the codings that it allows, known from how it was made (RFC 9110 §12.5.3)."""
    said: dict[str, bool] = {}
    text = ""
    for name in draw(st.lists(_names, max_size=6)):
        weight, good = draw(st.one_of(st.tuples(_good, st.just(True)), st.tuples(_zero | _bad, st.just(False))))
        spelled = draw(st.sampled_from([name, name.upper(), name.title()]))
        text += ("," if text else "") + draw(_blank) + spelled + weight + draw(_blank)
        plain = "gzip" if name == "x-gzip" else name
        said[plain] = good and said.get(plain, True)
    allowed = {coding for coding in CODINGS if said.get(coding, said.get("*", coding == "identity"))}
    return text, frozenset(allowed)
