"""What a build is answered: from the lock, from this run, or from the network; and what it has read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NoReturn
from urllib.parse import urljoin

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.recording import Recording, Response, SimpleIndex
from rbuild.sealed.download import Download
from rbuild.sealed.reads import StepReads, listed_responses, recording_of, step_reads
from rbuild.sealed.replies import Body, BytesBody, FileBody, NoBody, Reply, Request, asks_for_part, reply
from rbuild.sealed.session import EMPTY, Answers, Session
from rbuild.sealed.upstream import Unreachable
from rbuild.sealed.urls import printable_url, recorded_url
from rbuild.simpleindex import Page, file_key, render
from rbuild.store import CorruptBlob, MissingBlob


class Kind(Enum):
    """Why a request was refused."""

    NOT_LOCKED = "not locked"
    UNAVAILABLE = "not available any more"
    UNREACHABLE = "not reachable"
    UNRECORDABLE = "cannot be recorded"
    CHECKSUM = "not what was expected"
    STORE = "the store failed"

    @property
    def is_fatal(self) -> bool:
        """Whether a build may not succeed after it, even if it did not mind."""
        return self in (Kind.NOT_LOCKED, Kind.UNAVAILABLE, Kind.CHECKSUM, Kind.STORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that was not answered, at which step, and why; `digest` if it was recorded once."""

    kind: Kind
    url: str
    reason: str
    step: int
    digest: Digest | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A request that got no answer which says the same tomorrow, so that nothing of it is recorded."""

    url: str
    method: str
    why: str
    step: int


class Refused(Exception):
    """The client is to be told `reason` with this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Exchange:
    """The answers of one stage's build.

    `allow_new` is off under --locked and --offline, `allow_fetch` under --offline. `expected` are the digests
    that the content of URLs must have: other content is not handed out. `step` tells the number of the
    instruction that runs, `on_refusal` is told what was refused and why, once each.
    """

    def __init__(
        self,
        session: Session,
        locked: Recording,
        *,
        allow_new: bool,
        allow_fetch: bool,
        expected: Mapping[str, Digest] = MappingProxyType({}),
        step: Callable[[], int],
        on_refusal: Callable[[str], None],
    ) -> None:
        self._session = session
        self._locked = Answers(locked.responses)
        self._pages = {index.url: index for index in locked.indexes}
        self._files = {file_key(one.url): one for index in locked.indexes for one in listed_responses(index)}
        self._allow_new = allow_new
        self._allow_fetch = allow_fetch
        self._expected = {printable_url(url): digest for url, digest in expected.items()}
        self._step = step
        self._on_refusal = on_refusal
        self._lock = threading.Lock()
        self._reads: dict[int, dict[object, Response | SimpleIndex | _Coming]] = {}
        self._failures: dict[tuple[Kind, str, str], Failure] = {}
        self._lost: dict[Digest, str] = {}
        self.spool = session.store.tmp  # where bodies of requests are put aside

    # What the recorder asks

    def answer(self, request: Request) -> Reply:
        """Answer one request; the caller closes the reply's body. Raises Refused."""
        step = self._step()
        try:
            url = recorded_url(request.url)
        except ValueError:
            self.refuse(Kind.UNRECORDABLE, request.url, "only http and https can be recorded", status=501)
        locked = self._locked.find(request, url)
        if locked is not None and not (self._allow_new and _is_for_others(locked, request)):
            return self._replayed(step, request, locked)
        if request.method in ("GET", "HEAD") and request.body is None:
            if url in self._pages:
                return self._derived(step, request, self._pages[url])
            if (file := self._files.get(file_key(url))) is not None:
                return self._replayed(step, request, file)
        if not self._allow_new:
            self.refuse(
                Kind.NOT_LOCKED,
                url,
                f"{request.method}: not in the lock, and nothing new may be recorded",
                hint="build without --locked and --offline to record it",
            )
        known = self._session.known(request, url)
        if known is not None and not _is_for_others(known, request):
            return self._replayed(step, request, known)
        return self._streamed(_Coming(self._session.record(request, url), request, step))

    def refuse(
        self,
        kind: Kind,
        url: str,
        reason: str,
        *,
        status: int = 403,
        hint: str | None = None,
        step: int | None = None,
    ) -> NoReturn:
        """Note that a request is not answered, and raise Refused. `step` asked; None: the one of now."""
        self._note(kind, printable_url(url), reason, self._step() if step is None else step, hint=hint)
        raise Refused(status, reason)

    # What the build wants to know afterwards

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What was not answered, each once, in the order of the first time."""
        with self._lock:
            return tuple(self._failures.values())

    def settle(self, timeout: float = 600) -> None:
        """Wait until nothing that the build asked for is still coming, `timeout` seconds at most."""
        with self._lock:
            reads = [read for reads in self._reads.values() for read in reads.values()]
        until = time.monotonic() + timeout
        for coming in (read for read in reads if isinstance(read, _Coming)):
            ended = coming.download.wait_ended(max(0.0, until - time.monotonic()))
            error = coming.download.error
            if not ended:
                error = Unreachable(coming.request.url, f"still coming {timeout:g} s after the build's end")
            if error is not None:
                self._failed(coming, error)

    def observed(self) -> dict[int, StepReads]:
        """What each step has read, by its number; call `settle` first."""
        with self._lock:
            reads = {step: list(by_key.values()) for step, by_key in self._reads.items()}
        return {step: self._of_step(one) for step, one in reads.items()}

    def gaps(self) -> tuple[Gap, ...]:
        """The requests that a replay cannot answer; call `settle` first.

        One that failed and was answered later on counts as answered.
        """
        with self._lock:
            reads = [read for by_key in self._reads.values() for read in by_key.values()]
        coming = [read for read in reads if isinstance(read, _Coming)]
        answers = Answers(one.download.response for one in coming if one.download.response is not None)
        for read in reads:
            if isinstance(read, Response):
                answers.add(read)
        found: dict[tuple[str, str], Gap] = {}
        for one in coming:
            if one.download.response is not None or one.expected is not None:
                continue
            url = recorded_url(one.request.url)
            if answers.find(one.request, url) is None:
                error = one.download.error
                why = error.problems[0].what if error else f"answered {one.download.status}"
                gap = Gap(url=url, method=one.request.method, why=why, step=one.step)
                found.setdefault((gap.method, gap.url), gap)
        return tuple(found.values())

    def recording(self, steps: Sequence[int] | None = None) -> Recording:
        """What these steps, or all, have read together."""
        observed = self.observed()
        wanted = sorted(observed) if steps is None else steps
        return recording_of(observed[step] for step in wanted if step in observed)

    # Inside

    def _of_step(self, reads: list[Response | SimpleIndex | _Coming]) -> StepReads:
        responses: list[Response] = []
        pages: list[Page] = []
        for read in reads:
            response = read.download.response if isinstance(read, _Coming) else read
            if isinstance(response, SimpleIndex):
                pages.append(Page.of(response))
            elif response is not None:
                page = self._session.page(response)
                if page is not None:
                    pages.append(page)
                else:
                    responses.append(response)
        return step_reads(responses, pages)

    def _remember(self, step: int, key: object, read: Response | SimpleIndex | _Coming) -> None:
        with self._lock:
            self._reads.setdefault(step, {})[key] = read

    def _note(
        self,
        kind: Kind,
        url: str,
        reason: str,
        step: int,
        *,
        digest: Digest | None = None,
        hint: str | None = None,
    ) -> None:
        failure = Failure(kind=kind, url=url, reason=reason, step=step, digest=digest, hint=hint)
        with self._lock:
            first = self._failures.setdefault((kind, url, reason), failure) is failure
        if first:
            self._on_refusal(f"{url}: {reason}")

    def _derived(self, step: int, request: Request, index: SimpleIndex) -> Reply:
        content_type, data = render(index, request.accept)
        self._remember(step, index.url, index)
        return reply(request, 200, {"content-type": content_type}, BytesBody(data))

    def _check(self, step: int, request: Request, response: Response) -> None:
        """Refuse content that is not what its URL, or one that leads to it, must have."""
        url = recorded_url(request.url)
        expected = self._expected.get(url)
        if expected is None or request.method != "GET":
            return
        if 300 <= response.status < 400 and "location" in response.headers:
            self._expected[recorded_url(urljoin(request.url, response.headers["location"]))] = expected
        elif response.status == 200 and response.sha256 != expected:
            self.refuse(
                Kind.CHECKSUM,
                url,
                f"the content is {response.sha256}, and must be {expected}",
                hint="see what was changed, the content or --checksum; "
                "rbuild lock --upgrade forgets what was recorded before",
                step=step,
            )

    def _replayed(self, step: int, request: Request, response: Response) -> Reply:
        self._check(step, request, response)
        head_only = request.method == "HEAD"
        if response.sha256 == EMPTY or (head_only and response.size):
            self._remember(step, response.key, response)
            size = None if response.method == "HEAD" else response.size
            body: Body = NoBody(size) if head_only else BytesBody(b"")
            return reply(request, response.status, response.headers, body)
        try:
            body = FileBody(self._session.open(response.sha256))
        except (CorruptBlob, MissingBlob) as error:
            lost = error.problems[0].what
        else:
            self._remember(step, response.key, response)
            return reply(request, response.status, response.headers, body)
        with self._lock:
            lost = self._lost.get(response.sha256, lost)
            given_up = not self._allow_fetch or response.sha256 in self._lost
        if given_up:
            self._note_lost(step, response, lost)
            raise Refused(502, lost)
        again = self._session.fetch_again(request, response)
        return self._streamed(_Coming(again, request, step, response))

    def _streamed(self, coming: _Coming) -> Reply:
        request, download = coming.request, coming.download
        self._remember(coming.step, coming.key, coming)
        try:
            download.wait_begun()
            size_needed = asks_for_part(request) and download.size is None
            expected = recorded_url(request.url) in self._expected
            # The last bytes of an answer wait until it is recorded; where there are none, its head does.
            if size_needed or expected or download.size == 0 or request.method == "HEAD":
                download.wait_ended()
            if download.error is not None:
                raise download.error
            if download.response is not None:
                self._check(coming.step, request, download.response)
        except Refused:
            download.close()
            raise
        except RbuildError as error:
            download.close()
            self._failed(coming, error)
            raise Refused(502, str(error)) from error
        body: Body = _Watched(download, lambda error: self._failed(coming, error))
        if request.method == "HEAD" and coming.expected is None:
            body.close()
            body = NoBody(None)
        return reply(request, download.status, download.headers, body)

    def _failed(self, coming: _Coming, error: RbuildError) -> None:
        """Note what became of a download."""
        if not isinstance(error, Unreachable):
            first = error.problems[0]
            url = printable_url(coming.request.url)
            self._note(Kind.STORE, url, first.what, coming.step, hint=first.hint)
        elif coming.expected is None:
            self._note(Kind.UNREACHABLE, error.url, error.why, coming.step, hint=error.problems[0].hint)
        else:
            with self._lock:
                self._lost[coming.expected.sha256] = error.why
            self._note_lost(coming.step, coming.expected, error.why)

    def _note_lost(self, step: int, lost: Response, why: str) -> None:
        self._note(
            Kind.UNAVAILABLE,
            lost.url,
            f"recorded, but cannot be had again ({why})",
            step,
            digest=lost.sha256,
            hint="rbuild lock --upgrade records it anew",
        )


@dataclass(frozen=True, slots=True)
class _Coming:
    """A response that is on its way, what for and at which step; `expected` if it was recorded once."""

    download: Download
    request: Request
    step: int
    expected: Response | None = None

    @property
    def key(self) -> object:
        if self.expected is not None:
            return self.expected.key
        body = self.request.body.digest if self.request.body else None
        return "new", self.request.url, self.request.method, body, self.request.accept


class _Watched:
    """A download as a body, which tells why it broke off."""

    def __init__(self, download: Download, on_failure: Callable[[RbuildError], None]) -> None:
        self._download = download
        self._on_failure = on_failure
        self.size = download.size

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]:
        try:
            yield from self._download.chunks(start, stop)
        except RbuildError as error:
            self._on_failure(error)
            raise

    def close(self) -> None:
        self._download.close()


def _is_for_others(response: Response, request: Request) -> bool:
    """Whether a response asks for a login, which the request has."""
    return response.status == 401 and "authorization" in request.headers
