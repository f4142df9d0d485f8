"""What a stage's build read from the network, as values.

A recording is part of a stage's input digest and of the lock, so its order is canonical from the moment
that it is made: the same responses are the same recording, whatever order they arrived in.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError
from rbuild.plain import plain

Size = Annotated[int, Meta(ge=0)]
Url = Annotated[str, Meta(pattern=r"^https?://\S+$", extra={"expected": "an http or https URL"})]


class Response(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One response: where it came from, and the sha256 and size of its body.

    `body` is the sha256 of the request's own body. `accept` is the request's Accept header, and is set only
    where the response varies by it. `headers` are the headers of the response that a client may rely on.
    """

    url: Url
    sha256: Digest
    size: Size
    status: Annotated[int, Meta(ge=100, le=599)] = 200
    method: Annotated[str, Meta(pattern="^[A-Z]+$")] = "GET"
    body: Digest | None = None
    accept: str | None = None
    headers: dict[str, str] = {}

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells one request from another: URL, method, request body, Accept header."""
        return self.url, self.method, self.body.hex if self.body else "", self.accept or ""


class IndexFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file of a project on a package index, as PEP 691 describes it.

    `metadata` is the sha256 of the file's core metadata (PEP 658). `yanked` is the reason where there is one.
    """

    name: str
    url: Url
    sha256: Digest
    size: Size | None = None
    requires_python: str | None = None
    metadata: Digest | None = None
    yanked: bool | str = False


class SimpleIndex(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A page of a simple index (PEP 503), reduced to the files that the build used; sorted by name."""

    url: Url
    project: str
    files: tuple[IndexFile, ...] = ()

    def __post_init__(self) -> None:
        files = tuple(sorted(self.files, key=lambda file: file.name))
        _refuse_twins([file.name for file in files], f"file of the index {self.url}")
        msgspec.structs.force_setattr(self, "files", files)


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that a build read: responses sorted by `Response.key`, index pages sorted by URL.

    Raises RbuildError when two responses answer the same request, or two pages have one URL.
    """

    responses: tuple[Response, ...] = ()
    indexes: tuple[SimpleIndex, ...] = ()

    def __post_init__(self) -> None:
        responses = tuple(sorted(self.responses, key=lambda response: response.key))
        indexes = tuple(sorted(self.indexes, key=lambda index: index.url))
        _refuse_twins([response.key for response in responses], "response to")
        _refuse_twins([index.url for index in indexes], "index page")
        msgspec.structs.force_setattr(self, "responses", responses)
        msgspec.structs.force_setattr(self, "indexes", indexes)

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL that was read: pages of indexes, their files, and all else."""
        pages = [index.url for index in self.indexes]
        files = [file.url for index in self.indexes for file in index.files]
        return (*pages, *files, *(response.url for response in self.responses))

    def digest(self) -> Digest:
        """The sha256 of this recording as JSON with sorted keys, without white space and defaults."""
        return Digest.of(msgspec.json.encode(plain(self), order="sorted"))


def _refuse_twins(keys: list[Any], noun: str) -> None:
    """`keys` is sorted. Raises RbuildError, which names each key that is there more than once."""
    twins = sorted({one for one, next_one in pairwise(keys) if one == next_one})
    if twins:
        raise RbuildError(Problem(what=f"there is more than one {noun} {_text(twin)}") for twin in twins)


def _text(key: Any) -> str:
    return " ".join(part for part in key if part) if isinstance(key, tuple) else str(key)
