"""The versioned files of one space, in memory: for each path its rows, oldest first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from storage.clock import stamp
from storage.models import Blob, Digest, Entry, File, Millis


def _changed_at(row: File) -> Millis:
    return row.modified_at if row.removed_at is None else row.removed_at


def _is_past(row: File, before: Millis) -> bool:
    return row.removed_at is not None and row.removed_at < before and row.digest != ""


class Tree:
    def __init__(self) -> None:
        self._rows: dict[str, list[File]] = {}

    def find_live(self, path: str) -> File | None:
        rows = self._rows.get(path)
        return rows[-1] if rows and rows[-1].to_revision is None else None

    def find(self, path: str, revision: int) -> File | None:
        """The newest row that had begun at `revision`, as it stood then."""
        for row in reversed(self._rows.get(path, ())):
            if row.from_revision <= revision:
                ended = row.to_revision is not None and row.to_revision <= revision
                return row if ended else replace(row, to_revision=None, removed_at=None)
        return None

    def list_paths(self, folder: str, revision: int) -> list[str]:
        """What was live below `folder` at `revision`, sorted."""
        start = f"{folder}/" if folder else ""
        return [
            path
            for path in sorted(self._rows)
            if path.startswith(start) and (row := self.find(path, revision)) and row.to_revision is None
        ]

    def list_live(self, folder: str) -> list[File]:
        """What is live below `folder`, by path."""
        start = f"{folder}/" if folder else ""
        return [
            rows[-1]
            for path, rows in sorted(self._rows.items())
            if path.startswith(start) and rows[-1].to_revision is None
        ]

    def list_at(self, path: str) -> list[File]:
        """The live file at `path`, if there is one, and what is live below it."""
        live = self.find_live(path)
        return [*([live] if live else []), *self.list_live(path)]

    def list_level(self, folder: str) -> Iterator[Entry]:
        """The files and folders directly below `folder`, in no order."""
        start = len(folder) + 1 if folder else 0
        folders: dict[str, Millis] = {}
        for file in self.list_live(folder):
            slash = file.path.find("/", start)
            if slash < 0:
                yield file_entry(file)
            else:
                path = file.path[:slash]
                folders[path] = max(folders.get(path, 0), file.modified_at)
        for path, updated_at in folders.items():
            yield Entry(path=path, is_directory=True, size=0, updated_at=updated_at, digest=None)

    def publish(
        self, files: Mapping[str, Blob], ended: Collection[str], revision: int, now: Millis
    ) -> tuple[dict[str, File], dict[str, File]]:
        """What putting `files` and ending the live ones of `ended` makes and ends, by path; nothing is changed yet."""
        begun: dict[str, File] = {}
        gone: dict[str, File] = {}
        for path, blob in files.items():
            live = self.find_live(path)
            if live is None or live.digest != blob.digest:
                rows = self._rows.get(path)
                at = stamp(now, _changed_at(rows[-1]) if rows else 0)
                begun[path] = File(
                    path=path, digest=blob.digest, size=blob.size, modified_at=at, from_revision=revision
                )
                if live:
                    gone[path] = replace(live, to_revision=revision, removed_at=at)
        for path in ended:
            live = self.find_live(path)
            if live and path not in files:
                gone[path] = replace(live, to_revision=revision, removed_at=stamp(now, live.modified_at))
        return begun, gone

    def apply(self, begun: Mapping[str, File], gone: Mapping[str, File]) -> None:
        """Keep what `publish` gave."""
        for path, row in gone.items():
            self._rows[path][-1] = row
        for path, row in begun.items():
            self._rows.setdefault(path, []).append(row)

    def changed_since(self, paths: Collection[str], revision: int) -> str | None:
        """The first of `paths`, sorted, that changed after `revision`."""
        for path in sorted(paths):
            newest = self._rows.get(path, [None])[-1]
            if newest and max(newest.from_revision, newest.to_revision or 0) > revision:
                return path
        return None

    def forget(self, before: Millis) -> int:
        """Forget the contents that ended before then, save that the last of a path did; how many."""
        forgotten = 0
        for path, rows in self._rows.items():
            kept = [row for row in rows if not _is_past(row, before)]
            forgotten += len(rows) - len(kept)
            if _is_past(rows[-1], before):
                kept.append(replace(rows[-1], digest="", size=0))
            self._rows[path] = kept
        return forgotten

    def digests(self) -> Iterator[Digest]:
        """Of every content that was ever live."""
        return (row.digest for rows in self._rows.values() for row in rows)

    def last_changed_at(self) -> Millis:
        """When anything in it last changed; 0 if nothing ever did."""
        return max((_changed_at(rows[-1]) for rows in self._rows.values()), default=0)


def file_entry(file: File) -> Entry:
    """A file as a row of a listing."""
    return Entry(path=file.path, is_directory=False, size=file.size, updated_at=file.modified_at, digest=file.digest)
