"""Contents that are made here rather than read: in every coding that is worth it, each with its own digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from server.compression import QUICK, compress_at_once
from server.edge.codings import IDENTITY, Coding, choose, rank
from server.edge.response import Content
from storage.models import Blob
from storage.models import Coding as CodingName


@dataclass(frozen=True, slots=True)
class Made:
    """A content by its codings, of which one is identity."""

    media_type: str
    bodies: Mapping[Coding, bytes]

    def content(self, accept_encoding: str | None) -> Content:
        """What this Accept-Encoding gets of it."""
        codings = rank({coding: len(body) for coding, body in self.bodies.items()})
        coding = choose(accept_encoding, codings)
        body = self.bodies[coding]
        blob = Blob(digest=hashlib.sha256(body).hexdigest(), size=len(body))
        return Content(self.media_type, blob, body, coding, codings if len(codings) > 1 else ())


def make(media_type: str, body: bytes, levels: Mapping[CodingName, int] = QUICK) -> Made:
    """Some 60 ms a megabyte at the levels `QUICK`."""
    bodies: dict[Coding, bytes] = {IDENTITY: body}
    bodies.update(compress_at_once(body, levels).items())
    return Made(media_type, bodies)
