"""What each step of a build read, and the recording that the steps make together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from rbuild.digest import Digest
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex
from rbuild.simpleindex import FILE_HEADERS, Page, file_key, lock_page


class StepReads(Recording, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one step read: each page of an index with the files of it that this very step read.

    It depends on nothing that another step did, so it may be kept with the step's layer.
    """

    def to_bytes(self) -> bytes:
        return msgspec.json.encode(self, enc_hook=str, order="sorted")

    @classmethod
    def from_bytes(cls, data: bytes) -> StepReads:
        """Raises msgspec.MsgspecError for what `to_bytes` does not write."""
        return msgspec.json.decode(data, type=cls, dec_hook=lambda _kind, text: Digest.parse(text))


def step_reads(responses: Iterable[Response], pages: Iterable[Page]) -> StepReads:
    """Put together what one step read."""
    kept = {response.key: response for response in responses}
    files = {file_key(found.url): found for found in kept.values() if _is_plain(found)}
    indexes = [lock_page(page, files) for page in pages]
    reads = recording_of([Recording(responses=tuple(kept.values()), indexes=tuple(indexes))])
    return StepReads(responses=reads.responses, indexes=reads.indexes)


def recording_of(steps: Iterable[Recording]) -> Recording:
    """The recording of a build from those of its steps, in their order.

    A file that a page lists is not listed among the responses as well.
    """
    responses: dict[tuple[str, str, str, str], Response] = {}
    indexes: dict[str, SimpleIndex] = {}
    for step in steps:
        responses.update((response.key, response) for response in step.responses)
        for index in step.indexes:
            known = indexes.get(index.url)
            indexes[index.url] = _both(known, index) if known else index
    listed = _listed(indexes.values())
    return Recording(
        responses=tuple(one for one in responses.values() if not _is_listed(one, listed)),
        indexes=tuple(indexes.values()),
    )


def listed_responses(index: SimpleIndex) -> Iterable[Response]:
    """The responses that a page of the lock stands for: its files, and their metadata.

    The size of metadata is not in the lock; it is given as 0.
    """
    for file in index.files:
        yield Response(url=file.url, sha256=file.sha256, size=file.size or 0, headers=FILE_HEADERS)
        if file.metadata is not None:
            yield Response(url=f"{file.url}.metadata", sha256=file.metadata, size=0, headers=FILE_HEADERS)


def _both(older: SimpleIndex, newer: SimpleIndex) -> SimpleIndex:
    """The files of both pages, and of each file what either knows."""
    files: dict[str, IndexFile] = {file.name: file for file in older.files}
    for file in newer.files:
        known = files.get(file.name)
        if known is not None and (known.url, known.sha256) == (file.url, file.sha256):
            file = msgspec.structs.replace(
                file,
                size=known.size if file.size is None else file.size,
                metadata=file.metadata or known.metadata,
            )
        files[file.name] = file
    return msgspec.structs.replace(newer, files=tuple(files.values()))


def _is_plain(response: Response) -> bool:
    return response.method == "GET" and response.status == 200 and response.body is None


def _listed(indexes: Iterable[SimpleIndex]) -> Mapping[str, Response]:
    return {file_key(one.url): one for index in indexes for one in listed_responses(index)}


def _is_listed(response: Response, listed: Mapping[str, Response]) -> bool:
    known = listed.get(file_key(response.url))
    return (
        known is not None
        and _is_plain(response)
        and response.accept is None
        and response.sha256 == known.sha256
        and response.headers == FILE_HEADERS
    )
