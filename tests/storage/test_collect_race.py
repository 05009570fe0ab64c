"""Uploads, deployments and deletions race collections: whatever a row names is there to be read.

Not many contents, used again and again, and made old between the rounds, so that each round begins with garbage that
somebody is about to want. Two stores share the database and the directory, as two machines would.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

from storage.collect import collect
from storage.errors import NotFound
from storage.local import LocalBlobs
from storage.models import Blob, NewDeployment, NewSpace, Space
from storage.retention import forget
from storage.sql import SqlMetadata, open_sql, tables
from storage.sql.engines import parse_url
from tests.storage.conftest import Clock
from tests.storage.test_blobs import chunks_of, content_of, grow_older

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("SPACELANE_TEST_ROUNDS", "4"))
DAY = 86_400.0
CONTENTS = [b"%d" % number for number in range(150)] + [content_of(300_000)]  # the last is streamed to the disk
NAMES = [f"{number}.txt" for number in range(4)]
STEPS = {"collect": 2, "upload": 25, "deploy": 15, "prepare": 5, "delete": 5, "forget": 3}  # of each actor in a round
DEPLOYED_BETWEEN = STEPS["deploy"] // STEPS["forget"]  # two steps of `forget`, for it to find something


class Node:
    """One machine's stores, and what is done with them."""

    def __init__(self, metadata: SqlMetadata, blobs: LocalBlobs, clock: Clock, random_: random.Random) -> None:
        self.metadata = metadata
        self.blobs = blobs
        self.clock = clock
        self.random = random_
        self.collected = self.forgotten = 0
        self.deployed = asyncio.Semaphore(0)
        self.prepared: list[str] = []  # deployments that wait to be activated

    async def upload(self, spaces: list[str]) -> None:
        """As the API does: content, variant, row."""
        blob = await self._put()
        if self.random.random() < 0.5:
            await self.metadata.put_variants("acme", {blob.digest: {"gzip": await self._put()}})
        with suppress(NotFound):
            await self.metadata.put_files(self.random.choice(spaces), {self.random.choice(NAMES): blob})

    async def deploy(self, spaces: list[str]) -> None:
        """Only what is missing is sent."""
        chosen = {name: self.random.choice(CONTENTS) for name in NAMES}
        files = {name: blob_of(content) for name, content in chosen.items()}
        with suppress(NotFound):
            deployment = await self.metadata.create_deployment(
                NewDeployment(space_id=self.random.choice(spaces), files=files)
            )
            for digest in await self.metadata.list_missing(deployment.id):
                content = next(content for content in CONTENTS if blob_of(content).digest == digest)
                await self.metadata.put_blob("acme", await self.blobs.put(chunks_of(content), expected=digest))
            await self.metadata.activate_deployment(deployment.id)
        self.deployed.release()

    async def prepare(self, spaces: list[str]) -> None:
        """A deployment that is complete and waits, as one that is previewed. Contents are noted together."""
        files = {name: blob_of(self.random.choice(CONTENTS)) for name in NAMES}
        with suppress(NotFound):
            deployment = await self.metadata.create_deployment(
                NewDeployment(space_id=self.random.choice(spaces), files=files)
            )
            missing = await self.metadata.list_missing(deployment.id)
            contents = [content for content in CONTENTS if blob_of(content).digest in missing]
            await self.metadata.put_blobs("acme", [await self.blobs.put(chunks_of(content)) for content in contents])
            self.prepared.append(deployment.id)

    async def forget(self, _spaces: list[str]) -> None:
        for _ in range(DEPLOYED_BETWEEN):
            await self.deployed.acquire()
        done = await forget(self.metadata, 2, self.clock.now + 1)  # whatever has ended, at once
        self.forgotten += done.deployments + done.versions

    async def delete(self, spaces: list[str]) -> None:
        """A space with all that is in it, and another in its place."""
        place = self.random.randrange(len(spaces))
        space_id, spaces[place] = spaces[place], (await self.create_space()).id
        with suppress(NotFound):
            await self.metadata.delete_space(space_id)

    async def create_space(self) -> Space:
        return await self.metadata.create_space(NewSpace(workspace_id="acme"))

    async def collect(self, _spaces: list[str]) -> None:
        self.collected += (await collect(self.metadata, self.blobs, DAY, clock=self.clock)).count

    async def _put(self) -> Blob:
        return await self.blobs.put(chunks_of(self.random.choice(CONTENTS)))

    async def act(self, name: str, steps: int, spaces: list[str]) -> None:
        for _ in range(steps):
            await getattr(self, name)(spaces)


def blob_of(content: bytes) -> Blob:
    return Blob(digest=hashlib.sha256(content).hexdigest(), size=len(content))


async def named_digests(url: str) -> set[str]:
    """Whatever a row says is there: what is missing of a deployment nobody possesses, so that it is not among them."""
    engine = create_async_engine(parse_url(url))
    columns = (tables.files.c.digest, tables.variants.c.digest, tables.workspace_blobs.c.digest)
    async with engine.connect() as connection:
        found = {row[0] for column in columns for row in await connection.execute(select(column).distinct())}
    await engine.dispose()
    return found - {None, ""}


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("SPACELANE_TEST_SEED", random.randrange(2**32)))
    print(f"seed {seed}: set SPACELANE_TEST_SEED to it to run this again")
    return seed


@pytest.mark.timeout(600)
async def test_nothing_that_is_named_is_collected(sql_url: str, tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    clock = Clock()
    stores = [await open_sql(sql_url, clock=clock) for _ in range(2)]
    nodes = [Node(store, LocalBlobs(tmp_path / "blobs"), clock, random_) for store in stores]
    try:
        await stores[0].put_workspace("acme", "Acme")
        spaces = [(await nodes[0].create_space()).id for _ in range(3)]
        reader = nodes[0].blobs
        for _ in range(ROUNDS):
            async with asyncio.TaskGroup() as group:
                for node in nodes:
                    for verb, steps in STEPS.items():
                        group.create_task(node.act(verb, steps, spaces))
            for digest in await named_digests(sql_url):
                assert hashlib.sha256(await reader.read(digest)).hexdigest() == digest
            for deployment_id in [each for node in nodes for each in node.prepared]:
                assert await stores[0].list_missing(deployment_id) == []
            # Two days later all of it is old, and some of it garbage.
            grow_older(tmp_path / "blobs", 2 * DAY)
            clock.now += round(2 * DAY * 1000)
            for place in range(len(spaces)):
                if random_.random() < 0.7:
                    await stores[0].delete_space(spaces[place])
                    spaces[place] = (await nodes[0].create_space()).id
        assert sum(node.collected for node in nodes) > ROUNDS, "too little was collected to show anything"
        assert sum(node.forgotten for node in nodes), "nothing was forgotten, which shows nothing"
    finally:
        for store in stores:
            await store.close()
