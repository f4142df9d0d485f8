"""What each step of a build read, and the recording that the steps make together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urljoin

import msgspec

from rbuild.digest import Digest
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex
from rbuild.sealed.urls import recorded_url
from rbuild.simpleindex import FILE_HEADERS, Page, file_key, lock_page

_MOST_REDIRECTS = 10
_LOGIN = 401


class StepReads(Recording, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one step read: each page of an index with the files of it that this very step read.

    It depends on nothing that another step did, so it may be kept with the step's layer.
    """

    @classmethod
    def of(cls, steps: Iterable[Recording]) -> StepReads:
        """What several read together."""
        reads = recording_of(steps)
        return cls(responses=reads.responses, indexes=reads.indexes)

    def to_bytes(self) -> bytes:
        return msgspec.json.encode(self, enc_hook=str, order="sorted")

    @classmethod
    def from_bytes(cls, data: bytes) -> StepReads:
        """Raises msgspec.MsgspecError for what `to_bytes` does not write."""
        return msgspec.json.decode(data, type=cls, dec_hook=lambda _kind, text: Digest.parse(text))


def step_reads(responses: Iterable[Response], pages: Collection[Page]) -> StepReads:
    """Put together what one step read."""
    kept = _answers(responses)
    files = _files(kept.values()) if pages else {}
    indexes = [lock_page(page, files) for page in pages]
    return StepReads.of([Recording(responses=tuple(kept.values()), indexes=tuple(indexes))])


def recording_of(steps: Iterable[Recording]) -> Recording:
    """The recording of a build from those of its steps, in their order.

    A file that a page lists is not listed among the responses as well.
    """
    steps = list(steps)
    indexes: dict[str, SimpleIndex] = {}
    for step in steps:
        for index in step.indexes:
            known = indexes.get(index.url)
            indexes[index.url] = _both(known, index) if known else index
    listed = _listed(indexes.values())
    responses = _answers(response for step in steps for response in step.responses)
    return Recording(
        responses=tuple(
            one
            for one in responses.values()
            if not _is_listed(one, listed)
            and not (one.status == _LOGIN and (one.url in indexes or file_key(one.url) in listed))
        ),
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


def _answers(responses: Iterable[Response]) -> dict[tuple[str, str, str, str], Response]:
    """Responses by their key. That a login was asked for does not count where an answer came as well."""
    kept: dict[tuple[str, str, str, str], Response] = {}
    for one in responses:
        if one.status != _LOGIN or one.key not in kept:
            kept[one.key] = one
    answered = {key[:3] for key, one in kept.items() if one.status != _LOGIN}
    return {key: one for key, one in kept.items() if one.status != _LOGIN or key[:3] not in answered}


def _files(responses: Collection[Response]) -> Mapping[str, Response]:
    """What a client had when it asked for a URL, by its `file_key`: redirects are followed."""
    found = {file_key(one.url): one for one in responses if _is_plain(one)}
    leads = {
        file_key(one.url): target
        for one in responses
        if one.method == "GET" and one.body is None and (target := _target(one)) is not None
    }
    for start in leads.keys() - found.keys():
        place = start
        for _ in range(_MOST_REDIRECTS):
            place = leads.get(place, "")
            if place in found:
                found[start] = found[place]
                break
    return found


def _target(response: Response) -> str | None:
    """The `file_key` of where a redirect leads; None for what is none."""
    if not 300 <= response.status < 400 or "location" not in response.headers:
        return None
    try:
        return file_key(recorded_url(urljoin(response.url, response.headers["location"])))
    except ValueError:
        return None


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
