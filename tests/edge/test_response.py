"""Headers that say what an answer depended on."""

from __future__ import annotations

import pytest

from server.edge.response import NO_STORE, NOSNIFF, REVALIDATE, Headers, varying


@pytest.mark.parametrize(
    ("headers", "fields", "expected"),
    [
        ((REVALIDATE,), (), (REVALIDATE,)),
        ((NOSNIFF,), (b"accept-language",), (NOSNIFF, (b"vary", b"accept-language"))),
        (((b"vary", b"Origin"),), (b"cookie",), ((b"vary", b"Origin, cookie"),)),
        (((b"vary", b"Cookie, origin"),), (b"cookie",), ((b"vary", b"Cookie, origin"),)),
        (
            (REVALIDATE,),
            (b"cookie",),
            ((b"cache-control", b"private, max-age=0, must-revalidate"), (b"vary", b"cookie")),
        ),
        (
            ((b"cache-control", b"max-age=60, public"),),
            (b"cookie",),
            ((b"cache-control", b"private, max-age=60"), (b"vary", b"cookie")),
        ),
        ((NO_STORE,), (b"cookie",), (NO_STORE, (b"vary", b"cookie"))),
        ((REVALIDATE,), (b"sec-fetch-dest", b"accept"), (REVALIDATE, (b"vary", b"sec-fetch-dest, accept"))),
    ],
)
def test_varying(headers: Headers, fields: tuple[bytes, ...], expected: Headers) -> None:
    assert varying(headers, fields) == expected
