"""Which deployment a site shows where it does not show what is live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

PreviewAccess: TypeAlias = Literal["public", "private"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A deployment as its preview shows it: its manifest over the tree of the revision that it started from.

    `replaces` is the folder of which nothing but the manifest is left (`""`: the whole space), None for a merge.
    `private`: for those alone who come by a signed link.
    """

    deployment_id: str
    replaces: str | None
    private: bool

    def drops(self, path: str) -> bool:
        """Whether a path that the manifest lacks is not in the deployment's tree, whatever was there before."""
        return self.replaces == "" or (self.replaces is not None and path.startswith(f"{self.replaces}/"))
