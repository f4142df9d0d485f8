"""Which of Podman's cached layers a build may meet.

Podman compares instructions, copied files and the base, not what a RUN read from the network. So every build
has a token in the history of its bases, and only finds layers that were built under the same one. A token
stands for responses: as long as nothing that its layers read is locked otherwise, they are valid.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator

import msgspec

from rbuild.plan import Inputs
from rbuild.recording import Recording
from rbuild.sealed.reads import StepReads, recording_of
from rbuild.store import Store

_MOST_TOKENS = 16  # for one set of inputs


class Token(msgspec.Struct, frozen=True):
    """A name, the stage that used it last, and every response that layers built under it have read."""

    name: str
    stage: str
    recording: Recording = Recording()


class LayerCache:
    """The tokens of a project. Stages with the same inputs share them, and so each other's layers."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._project = project
        self._lock = threading.Lock()
        self._taken: set[str] = set()

    @contextlib.contextmanager
    def token(self, inputs: Inputs, stage: str, locked: Recording, *, fresh: bool) -> Iterator[Token]:
        """A token for one build, which no other build of this command has at the same time.

        It is one that agrees with `locked`, the stage's own before others; a new one where there is none,
        and for a `fresh` build, which finds nothing.
        """
        with self._lock:
            known = [] if fresh else self._tokens(inputs)
            known.sort(key=lambda token: token.stage != stage)
            fitting = (one for one in known if one.name not in self._taken and _agree(one.recording, locked))
            token = next(fitting, None) or Token(secrets.token_hex(16), stage)
            self._taken.add(token.name)
        try:
            yield token
        finally:
            with self._lock:
                self._taken.discard(token.name)

    def keep(self, inputs: Inputs, stage: str, token: Token, read: Recording) -> None:
        """Remember what a token's layers have read by now; a token whose layers disagree is forgotten."""
        with self._lock:
            others = [one for one in self._tokens(inputs) if one.name != token.name]
            kept = [Token(token.name, stage, recording_of([token.recording, read]))]
            if not _agree(token.recording, read):
                kept = []
            data = msgspec.msgpack.encode([*kept, *others][:_MOST_TOKENS])
            self._store.cache("tokens", inputs.cache_key(self._project), data)

    def forget(self, inputs: Inputs, token: Token) -> None:
        """Let no build meet the layers of a token any more."""
        with self._lock:
            others = [one for one in self._tokens(inputs) if one.name != token.name]
            self._store.cache("tokens", inputs.cache_key(self._project), msgspec.msgpack.encode(others))

    def reads_of(self, token: Token, layer: str) -> StepReads | None:
        """What the step of a layer read when it ran; `layer` is the start of its ID. None: nobody knows."""
        data = self._store.cached("reads", f"{token.name}-{layer}")
        return StepReads.from_bytes(data) if data is not None else None

    def keep_reads(self, token: Token, layer: str, reads: StepReads) -> None:
        """Remember what the step of a new layer read, beside what is remembered of that layer."""
        if (known := self.reads_of(token, layer)) is not None:
            reads = StepReads.of([known, reads])
        self._store.cache("reads", f"{token.name}-{layer}", reads.to_bytes())

    def _tokens(self, inputs: Inputs) -> list[Token]:
        data = self._store.cached("tokens", inputs.cache_key(self._project))
        if data is None:
            return []
        try:
            return msgspec.msgpack.decode(data, type=list[Token])
        except msgspec.MsgspecError:
            return []  # of an older rbuild


def _agree(one: Recording, other: Recording) -> bool:
    """Whether no request and no file of an index is answered otherwise in the one than in the other."""
    answers = {response.key: response.sha256 for response in one.responses}
    files = {(index.url, file.name): file.sha256 for index in one.indexes for file in index.files}
    return all(
        answers.get(response.key, response.sha256) == response.sha256 for response in other.responses
    ) and all(
        files.get((index.url, file.name), file.sha256) == file.sha256
        for index in other.indexes
        for file in index.files
    )
