"""Blobs out of a repository into a store, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial

from rbuild.events import Emit, Progress
from rbuild.registry.repository import Repository
from rbuild.registry.workers import in_parallel
from rbuild.store import Blob, Store

_WORTH_TELLING = 1 << 20  # bytes


def fetch_blobs(
    repository: Repository, store: Store, blobs: Iterable[Blob], text: str, emit: Emit
) -> list[Blob]:
    """Fetch the blobs that the store lacks, every byte of them compared; gives those. `text` is shown."""
    missing = [blob for blob in dict.fromkeys(blobs) if not store.has(blob.digest, blob.size)]
    progress = TransferProgress(text, sum(blob.size for blob in missing), emit)
    largest = sorted(missing, key=lambda blob: -blob.size)
    in_parallel([partial(_bring, repository, store, blob, progress) for blob in largest])
    return missing


def _bring(repository: Repository, store: Store, blob: Blob, progress: TransferProgress) -> None:
    with store.writer() as writer:

        def take(data: bytes) -> None:
            writer.write(data)
            progress.came(len(data))

        repository.pull_blob(blob.digest, blob.size, take)
        writer.commit(blob.digest)


class TransferProgress:
    """Adds up what has come of several blobs; tells each hundredth."""

    def __init__(self, text: str, total: int, emit: Emit) -> None:
        self._text = text
        self._total = total
        self._emit = emit
        self._done = 0
        self._told = 0
        self._lock = threading.Lock()

    def came(self, size: int) -> None:
        with self._lock:
            self._done += size
            hundredth = self._done * 100 // self._total
            if hundredth > self._told and self._total >= _WORTH_TELLING:
                self._told = hundredth
                self._emit(Progress(text=self._text, done=self._done, total=self._total))
