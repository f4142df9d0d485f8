"""One repository of a registry: blobs, manifests, tags and referrers.

Source: OCI distribution specification 1.1. An upload that breaks off goes on where the registry says that it
stands; a download goes on by a range. Every digest that comes back is compared.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urljoin

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.image.manifest import OCI_INDEX, OCI_MANIFEST
from rbuild.registry.authorization import Authorizer
from rbuild.registry.connections import Response
from rbuild.registry.patience import GaveUp, Patience, Transient
from rbuild.registry.transfer import Download, Upload
from rbuild.registry.transport import Transport, body, finish, message

T = TypeVar("T")

MAX_MANIFEST = 4 << 20
_MAX_REDIRECTS = 5
_MAX_LOGINS = 4  # for one request: a token may have expired before it is used
_STEP = 1 << 16  # bytes of a blob that count as getting on
_MAX_PAGES = 1_000
_MAX_REFERRER_PAGES = 16  # of up to MAX_MANIFEST bytes
_ACCEPT = ", ".join(
    (
        OCI_MANIFEST,
        OCI_INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class ManifestBytes:
    """A manifest as the registry has it, and the digest of these very bytes."""

    data: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip()


class Repository:
    """What one repository is asked. Threads may share it.

    Every method raises RbuildError with registry, repository, step and what to do, after as many tries as
    the patience allows.
    """

    def __init__(self, name: str, transport: Transport, authorizer: Authorizer, patience: Patience) -> None:
        self.name = name
        self._transport = transport
        self._authorizer = authorizer
        self._patience = patience

    def __str__(self) -> str:
        return f"{self._transport.host}/{self.name}"

    # Blobs

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has a blob that can be had."""
        expected = (200, 404, *_REDIRECTS)  # to where the bytes are
        try:
            return self._asked("look for a blob", "HEAD", f"blobs/{digest}", expected=expected).status != 404
        except RbuildError as error:
            # A registry whose disk was full knows it by an empty file now; to send it again mends that.
            if isinstance(error.__cause__, GaveUp) and error.__cause__.reason.startswith("HTTP 500"):
                return False
            raise

    def mount(self, digest: Digest, source: str) -> bool:
        """Take a blob from another repository of the registry; False: it was not to be had there."""
        path = f"blobs/uploads/?mount={digest}&from={quote(source, safe='')}"
        scopes = (self._scope("pull,push"), f"repository:{source}:pull")
        answer = self._asked(
            "mount a blob", "POST", path, expected=(201, 202, 401, 403, 404, 405), scopes=scopes
        )
        if answer.status == 202 and (place := answer.headers.get("Location")):
            self._cancel(place)
        return answer.status == 201

    def push_blob(
        self, digest: Digest, size: int, opened: Callable[[], BinaryIO], progress: Callable[[int], None]
    ) -> int:
        """Upload a blob, which `opened` opens at its start, seekable; gives the bytes that were sent.

        `progress` is told after each piece how much the registry is believed to have.
        """
        upload = Upload(self, digest, size, opened, progress)
        with self._explained("upload a blob", digest):
            self._patience.persist(upload.advance, progressed=lambda: upload.confirmed // _STEP)
        return upload.sent

    def pull_blob(self, digest: Digest, size: int, write: Callable[[bytes], object]) -> None:
        """Download a blob into `write`, in pieces; exactly `size` bytes, whose digest was compared."""
        download = Download(self, digest, size, write)
        with self._explained("download a blob", digest):
            self._patience.persist(download.advance, progressed=lambda: download.taken // _STEP)

    # Manifests and tags

    def manifest(self, reference: str) -> ManifestBytes | None:
        """A manifest by tag or digest; None: there is none. Raises RbuildError if it is not that digest's."""
        answer = self._asked(
            "read a manifest",
            "GET",
            f"manifests/{quote(reference, safe=':')}",
            headers={"Accept": _ACCEPT},
            expected=(200, 404),
        )
        if answer.status == 404:
            return None
        digest = Digest.of(answer.body)
        if ":" in reference and reference != str(digest):
            raise self.failed("read a manifest", f"it is {digest}, and {reference} was asked for")
        return ManifestBytes(answer.body, answer.media_type, digest)

    def has_manifest(self, reference: str) -> Digest | None:
        """The digest that a tag (or digest) has in the registry; None: there is none."""
        answer = self._asked(
            "look for a manifest",
            "HEAD",
            f"manifests/{quote(reference, safe=':')}",
            headers={"Accept": _ACCEPT},
            expected=(200, 404),
        )
        if answer.status == 404:
            return None
        said = answer.headers.get("Docker-Content-Digest")
        if said is not None:
            return self._digest("look for a manifest", said)
        found = self.manifest(reference)
        return found.digest if found else None

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Mapping[str, str]:
        """Store a manifest under a tag or its digest; gives the answer's headers."""
        answer = self._asked(
            "store a manifest",
            "PUT",
            f"manifests/{quote(reference, safe=':')}",
            headers={"Content-Type": media_type},
            data=data,
            expected=(200, 201, 202),
            scopes=(self._scope("pull,push"),),
        )
        return answer.headers

    def tags(self) -> Iterator[str]:
        """The tags, in the registry's order, a page at a time."""
        path = "tags/list?n=1000"
        for _ in range(_MAX_PAGES):
            answer = self._asked("list tags", "GET", path, expected=(200, 404))
            if answer.status == 404:
                return
            listed = self._json(answer, "list tags").get("tags")
            yield from (tag for tag in (listed if isinstance(listed, list) else ()) if isinstance(tag, str))
            following = self._next(answer, "tags/list")
            if following is None:
                return
            path = following

    def referrers(self, digest: Digest) -> list[bytes] | None:
        """The pages of the index of what refers to a manifest; None: the registry keeps no such list."""
        path = f"referrers/{digest}"
        pages: list[bytes] = []
        for _ in range(_MAX_REFERRER_PAGES):
            answer = self._asked(
                "list referrers",
                "GET",
                path,
                headers={"Accept": OCI_INDEX},
                expected=(200, 400, 404, 405),
            )
            if answer.status != 200 or answer.media_type != OCI_INDEX:
                if pages:
                    raise self.failed("list referrers", f"HTTP {answer.status} for a further page")
                return None
            pages.append(answer.body)
            following = self._next(answer, path)
            if following is None:
                return pages
            path = following
        raise self.failed("list referrers", f"the list has more than {_MAX_REFERRER_PAGES} pages")

    def insist(self, step: str, once: Callable[[], T]) -> T:
        """Do something again while it raises Transient, as often as the patience allows."""
        with self._explained(step, None):
            return self._patience.persist(once)

    # How it is asked

    def _asked(
        self,
        step: str,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        expected: tuple[int, ...],
        scopes: tuple[str, ...] | None = None,
    ) -> _Answer:
        """One request, again where it may help."""
        scopes = scopes or (self._scope("pull"),)

        def once() -> _Answer:
            response = (
                self.fetch(path, headers or {})
                if method == "GET"
                else self.send(method, self._url(path), headers or {}, scopes, data)
            )
            if response.status not in expected:
                raise self.refused(step, response)
            read = body(response, MAX_MANIFEST)
            if len(read) > MAX_MANIFEST:
                raise self.failed(step, f"the answer has more than {MAX_MANIFEST} bytes")
            return _Answer(response.status, response.headers, read)

        with self._explained(step, None):
            return self._patience.persist(once)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        scopes: tuple[str, ...],
        data: Any = None,
    ) -> Response:
        """One request with credentials; again, with other ones, if the registry wants them."""
        own = self._transport.is_own(url)
        authorization = self._authorizer.header(scopes) if own else None
        for _ in range(_MAX_LOGINS):
            response = self._transport.send(method, url, _with(headers, authorization), data)
            if response.status != 401 or not own:
                break
            asked = response.headers.get("WWW-Authenticate")
            finish(response)
            renewed = self._authorizer.challenged(asked, scopes, authorization)
            if renewed is None or renewed == authorization:
                break
            authorization = renewed
        return response

    def refused(self, step: str, response: Response) -> RbuildError:
        """The error for an answer that is not the expected one."""
        status = response.status
        hint = _HINTS.get(status, "").format(host=self._transport.host) or None
        return self.failed(step, f"HTTP {status}{message(response)}", hint=hint)

    def failed(
        self, step: str, why: str, *, digest: Digest | None = None, hint: str | None = None
    ) -> RbuildError:
        """An error that names registry, repository and step."""
        where = Where(url=str(self), digest=str(digest) if digest else None)
        return RbuildError(f"cannot {step}: {why}", where=where, hint=hint)

    def upload_url(self) -> str:
        """Where an upload session is begun."""
        return self._url("blobs/uploads/")

    def absolute(self, location: str) -> str:
        """Where a Location header leads."""
        return self._transport.absolute(location)

    @property
    def pushing(self) -> tuple[str, ...]:
        """The scopes of an upload."""
        return (self._scope("pull,push"),)

    def fetch(self, path: str, headers: Mapping[str, str]) -> Response:
        """GET, with the redirects that registries make to where their blobs are."""
        url = self._url(path)
        for _ in range(_MAX_REDIRECTS):
            response = self.send("GET", url, headers, (self._scope("pull"),))
            if response.status not in _REDIRECTS:
                return response
            finish(response)
            url = self.absolute(urljoin(url, response.headers.get("Location", "")))
        raise self.failed("download", f"more than {_MAX_REDIRECTS} redirects")

    @contextlib.contextmanager
    def _explained(self, step: str, digest: Digest | None) -> Iterator[None]:
        try:
            yield
        except GaveUp as failure:
            raise self.failed(
                step,
                f"{failure.reason} (tried {failure.tries} times)",
                digest=digest,
                hint=_FULL if "no space left" in failure.reason else _LATER,
            ) from failure

    def _cancel(self, session: str) -> None:
        with contextlib.suppress(Transient, GaveUp, RbuildError):
            finish(self.send("DELETE", self.absolute(session), {}, self.pushing))

    def _next(self, answer: _Answer, path: str) -> str | None:
        """Where the page after an answer to `path` is."""
        found = _NEXT.search(answer.headers.get("Link", "")[:4096])
        return self.absolute(urljoin(self._url(path), found[1])) if found else None

    def _scope(self, actions: str) -> str:
        return f"repository:{self.name}:{actions}"

    def _url(self, path: str) -> str:
        if path.startswith(("http:", "https:")):
            return path
        return f"{self._transport.base}/v2/{self.name}/{path}"

    def _digest(self, step: str, said: str) -> Digest:
        """What a Docker-Content-Digest says."""
        try:
            return Digest.parse(said)
        except RbuildError as error:
            (problem,) = error.problems
            raise self.failed(
                step, f"its Docker-Content-Digest is {problem.what}", hint=_SHA256_ALONE
            ) from error

    def _json(self, answer: _Answer, step: str) -> dict[str, Any]:
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self.failed(step, "the registry did not answer with a JSON object")
        return found


_SHA256_ALONE = "rbuild knows sha256 alone: push to a registry that answers with it"
_LATER = "try again later: what has arrived is not sent again"
_FULL = "the registry's disk is full: tell whoever runs it"
_HINTS = {
    401: "podman login {host}",
    403: "the account that is logged in may not do this: podman login {host} as one that may",
    404: "create the repository, or check its name",
    405: "the registry is read-only",
    413: "the registry takes no blobs of this size: ask whoever runs it",
    507: _FULL,
}


def _with(headers: Mapping[str, str], authorization: str | None) -> dict[str, str]:
    return {**headers, "Authorization": authorization} if authorization else dict(headers)
