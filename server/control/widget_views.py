"""What the Sites API answers: one model for each answer, in that API's envelope and by its names."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, WithJsonSchema
from starlette.responses import JSONResponse, Response

from server.control.errors import Detail, sites_codes
from server.control.views import render_time
from server.control.widget_fields import Industry, Position, Size, Voice
from storage.widgets import Widget, facts

T = TypeVar("T", bound=BaseModel)


class AppearanceView(BaseModel):
    color: str
    position: Position
    size: Size
    edge_glow: bool


class PronunciationView(BaseModel):
    word: str
    say_as: str


class SiteConfigView(BaseModel):
    """A site, without its credentials."""

    id: str
    site_id: str
    business_name: str
    business_description: str
    domain: str
    industry: Industry
    voice: Voice
    personality: str
    greeting: str | None = None
    appearance: AppearanceView
    timezone: str
    enabled_pages: list[str]
    disabled_pages: list[str]
    restricted_topics: list[str]
    pronunciations: list[PronunciationView]
    custom_instructions: str | None = None
    language: str
    created_at: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
    updated_at: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]

    @classmethod
    def of(cls, widget: Widget) -> SiteConfigView:
        """As the API shows it."""
        times = {name: render_time(getattr(widget, name)) for name in ("created_at", "updated_at")}
        return cls.model_validate({"id": widget.id, **facts(widget), **times})


class ListMeta(BaseModel):
    """`total` counts the whole list."""

    total: int
    limit: int
    offset: int


class ConnectionTestView(BaseModel):
    """`latency_ms` where it is `ok`, otherwise the server's own error, or what kept us from reaching it."""

    ok: bool
    latency_ms: int | None = None
    error: str | None = None


class Answer(BaseModel, Generic[T]):
    success: Literal[True] = True
    data: T


class ListAnswer(BaseModel, Generic[T]):
    success: Literal[True] = True
    data: list[T]
    meta: ListMeta


class SitesErrorBody(BaseModel):
    code: Annotated[str, WithJsonSchema({"type": "string", "enum": list(sites_codes())})]
    message: str
    details: list[Detail] = []


class SitesErrorView(BaseModel):
    """Every refusal of the Sites API."""

    success: Literal[False] = False
    error: SitesErrorBody


def answer(model: BaseModel, status: int = 200) -> Response:
    """What is None is left out: a field that a site does not have is not there."""
    content: dict[str, Any] = model.model_dump(exclude_none=True)
    return JSONResponse(content, status)
