"""Deployments: say what a tree is to hold, upload what is missing, then make all of it live at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter
from pydantic import Field, ValidationError, WithJsonSchema
from starlette.responses import Response

from server.control.archives import MAX_FILES
from server.control.call import CurrentCall
from server.control.deployment_views import ActivatedView, DeploymentView, NewDeploymentView
from server.control.errors import MAX_DETAILS, Detail, bad_request, details_of
from server.control.fields import MAX_WHOLE, WHOLE, Body, Description, Folder, NoFields
from server.control.gate import RECORDS, ControlRoute, declare
from server.control.pagination import CurrentListQuery
from server.control.problems import find_problems
from server.control.records import answer_list
from server.control.views import ListView
from storage.blobs import parse_digest
from storage.errors import Invalid
from storage.models import Blob, Mode, NewDeployment
from storage.paths import join, parse_path

router = APIRouter(route_class=ControlRoute, tags=["Deployments"])


DIGEST = Field(json_schema_extra={"pattern": "^[0-9a-f]{64}$"})


class ManifestFile(Body):
    """A file's content, by its SHA-256."""

    digest: Annotated[str, DIGEST]
    size: Annotated[int, Field(ge=0, le=MAX_WHOLE), WHOLE]


# Not a model's field: what is wrong in a manifest is found in a thread, and not all of it.
Files: TypeAlias = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {"type": "object", "maxProperties": MAX_FILES, "additionalProperties": ManifestFile.model_json_schema()}
    ),
]


class NewDeploymentFields(Body):
    """`files`, at most 100,000, by their path below `prefix`.

    `replace` makes them all there is below the prefix; `merge` leaves other files alone, and conflicts if one of its
    own paths has changed since `base`, the space's revision that it starts from (by default the latest).
    """

    files: Files
    prefix: Folder = ""
    mode: Mode = "replace"
    message: Description = ""
    base: Annotated[int, Field(ge=0, le=MAX_WHOLE), WHOLE] | None = None


def parse_manifest(files: Mapping[str, Any], prefix: str, max_size: int) -> dict[str, Blob]:
    """The files by their kept path; raises 400 or `Invalid` that names the bad ones, the first of them at least."""
    if len(files) > MAX_FILES:
        raise Invalid("files", f"are more than {MAX_FILES}: put some of them into another deployment, of mode merge")
    manifest: dict[str, Blob] = {}
    sizes: dict[str, int] = {}
    for name, file in _validate(files):
        field = f"files.{name}"
        path = parse_path(join(prefix, parse_path(name, field=field)), field=field)
        if path in manifest:
            raise Invalid(field, f"is {path!r} once more: name each path once")
        if file.size > max_size:
            raise Invalid(f"{field}.size", f"is larger than the limit of {max_size} bytes")
        if sizes.setdefault(file.digest, file.size) != file.size:
            raise Invalid(f"{field}.size", "differs from that of another file with the same digest")
        manifest[path] = Blob(digest=parse_digest(file.digest, field=f"{field}.digest"), size=file.size)
    return manifest


def _validate(files: Mapping[str, Any]) -> Iterator[tuple[str, ManifestFile]]:
    """The files that have the right form. Raises 400 after them, or as soon as enough have another."""
    details: list[Detail] = []
    for name, value in files.items():
        try:
            yield name, ManifestFile.model_validate(value)
        except ValidationError as exc:
            found = ({**error, "loc": ("files", name, *error["loc"])} for error in exc.errors(include_url=False))
            details += details_of(found, skip=0)
            if len(details) >= MAX_DETAILS:
                break
    if details:
        raise bad_request(details[:MAX_DETAILS])


def check_base(mode: Mode, base: int | None) -> None:
    """Raises `Invalid` where it would mean nothing."""
    if base is not None and mode != "merge":
        raise Invalid("base", "is for the mode merge: leave it out, since replace depends on nothing that was there")


@router.post("/space/{spaceId}/deployment/create", **declare("files:write", NewDeploymentView, large_body=True))
async def create_deployment(spaceId: str, body: NewDeploymentFields, call: CurrentCall) -> Response:
    """Begin a deployment. Nothing is visible until it is activated."""
    prefix = body.prefix or ""
    # In a thread: a long manifest would hold up everybody else for a second.
    files = await asyncio.to_thread(parse_manifest, body.files, prefix, call.config.max_file_bytes)
    space = await call.get_space(spaceId)
    check_base(body.mode, body.base)
    new = NewDeployment(
        space_id=space.id, files=files, mode=body.mode, prefix=prefix, message=body.message or "", base=body.base
    )
    deployment = await call.metadata.create_deployment(new)
    missing = await call.metadata.list_missing(deployment.id)
    return call.answer(NewDeploymentView(id=deployment.id, missing=list(missing), base=deployment.base))


@router.get("/space/{spaceId}/deployment/list", **declare("files:read", ListView[DeploymentView], also=RECORDS))
async def list_deployments(spaceId: str, query: CurrentListQuery, call: CurrentCall) -> Response:
    """List a space's deployments."""
    space = await call.get_space(spaceId)
    read = partial(call.metadata.list_deployments, space.id)
    return await answer_list(call, query, "deployment", read, DeploymentView)


@router.get("/space/{spaceId}/deployment/{deploymentId}/fetch", **declare("files:read", DeploymentView))
async def fetch_deployment(spaceId: str, deploymentId: str, call: CurrentCall) -> Response:
    """Fetch a deployment."""
    deployment = await call.get_deployment(await call.get_space(spaceId), deploymentId)
    return call.answer(DeploymentView.model_validate(deployment))


@router.post(
    "/space/{spaceId}/deployment/{deploymentId}/activate", **declare("files:write", ActivatedView, statuses=(409,))
)
async def activate_deployment(spaceId: str, deploymentId: str, body: NoFields, call: CurrentCall) -> Response:
    """Publish a deployment, all of it at once. Activating an older one is a rollback.

    One of mode `replace` makes its files all there is below its prefix, whatever was uploaded there since; one of mode
    `merge` puts its own files in place again, and leaves the others.
    """
    deployment = await call.get_deployment(await call.get_space(spaceId), deploymentId)
    activated = await call.metadata.activate_deployment(deployment.id, skew=call.config.skew)
    assert activated.revision is not None
    problems, unlisted = await find_problems(call, activated.space_id)
    view = ActivatedView(id=activated.id, revision=activated.revision, problems=problems, unlisted=unlisted)
    return call.answer(view)
