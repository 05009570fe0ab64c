"""The keys of workspaces."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import update

from storage import audit, edits
from storage.models import Key, Millis, NewKey, Page, PageQuery
from storage.sql.database import Verbs, whole
from storage.sql.rows import KEY, WORKSPACE
from storage.sql.tables import keys


class KeyVerbs(Verbs):
    @whole
    async def create_key(self, new: NewKey) -> Key:
        async with self._database.transaction() as transaction:
            await WORKSPACE.get(transaction, new.workspace_id)
            key = edits.make_key(new, transaction.now)
            await transaction.insert(keys, KEY.values(key))
            transaction.record(audit.created(key))
            return key

    async def find_key(self, key_id: str) -> Key | None:
        return await KEY.find(self._database, keys.c.id == key_id)

    async def find_key_by_hash(self, secret_hash: str) -> Key | None:
        return await KEY.find(self._database, keys.c.secret_hash == secret_hash)

    async def list_keys(self, workspace_id: str, query: PageQuery) -> Page[Key]:
        return await KEY.list_page(self._database, query, keys.c.workspace_id == workspace_id)

    @whole
    async def revoke_key(self, key_id: str) -> Key:
        async with self._database.transaction() as transaction:
            key = await KEY.get(transaction, key_id)
            if key.revoked_at is not None:
                return key
            revoked = replace(key, revoked_at=transaction.now)
            await transaction.update(keys, KEY.values(revoked))
            transaction.record(audit.updated(key, revoked, "revoke"))
            return revoked

    @whole
    async def touch_key(self, key_id: str, used_at: Millis) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(update(keys).where(keys.c.id == key_id).values(last_used_at=used_at))
