"""Stores that keep everything in memory: public fakes, under the same contract tests as the real ones."""

from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata

__all__ = ["MemoryBlobs", "MemoryMetadata"]
