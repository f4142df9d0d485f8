"""What hadolint says of Containerfiles as Podman reads them; each file is judged once, ever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from rbuild.containerfile.flat import flattened
from rbuild.containerfile.model import Containerfile
from rbuild.hadolint import Hadolint, find
from rbuild.policy.foreign import UNREADABLE, Remark
from rbuild.store import Store

_KIND = "hadolint"
_FORM = "1"  # of what hadolint is given, and of what is kept
_ROUNDS = 4  # so many instructions that hadolint cannot read are left out of a file


class Linter:
    """hadolint over Containerfiles. Lines of its remarks are those of the files."""

    def __init__(self, engine: Hadolint | None, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._known: dict[str, tuple[Remark, ...] | None] = {}

    @classmethod
    def here(cls, env: Mapping[str, str], store: Store) -> Linter:
        """With the hadolint of this host, if it has one."""
        return cls(find(env), store)

    @property
    def missing(self) -> bool:
        """Whether this host has no hadolint."""
        return self._engine is None

    def remarks(self, file: Containerfile) -> tuple[Remark, ...] | None:
        """What is said of a file; None where hadolint is missing, or comes to no end."""
        self.prepare((file,))
        return self._known.get(self._key(file))

    def prepare(self, files: Iterable[Containerfile]) -> None:
        """Judge files together, which is quicker."""
        if self._engine is None:
            return
        asked = {key: file for file in files if (key := self._key(file)) not in self._known}
        for key in list(asked):
            if (kept := self._kept(key)) is not None:
                self._known[key] = kept
                del asked[key]
        if not asked:
            return
        for key, remarks in self._judged(self._engine, asked).items():
            self._known[key] = remarks
            if remarks is not None:
                self._store.cache(_KIND, key, msgspec.msgpack.encode(remarks))

    def _judged(
        self, engine: Hadolint, asked: Mapping[str, Containerfile]
    ) -> dict[str, tuple[Remark, ...] | None]:
        found: dict[str, tuple[Remark, ...] | None] = dict.fromkeys(asked)
        unreadable: dict[str, dict[int, Remark]] = {key: {} for key in asked}
        left = list(asked)
        for _ in range(_ROUNDS + 1):
            flats = [flattened(asked[key], without=unreadable[key]) for key in left]
            again: list[str] = []
            said = engine.judge([flat.text for flat in flats], self._store)
            for key, flat, remarks in zip(left, flats, said, strict=True):
                if remarks is None:
                    continue
                placed = [replace(one, line=flat.line(one.line)) for one in remarks]
                found[key] = (*unreadable[key].values(), *placed)
                bad = next((one for one in placed if one.code == UNREADABLE), None)
                if bad is not None and bad.line not in unreadable[key] and not _is_base(asked[key], bad.line):
                    unreadable[key][bad.line] = bad
                    again.append(key)
            if not again:
                return found
            left = again
        return found | dict.fromkeys(left)  # so much that it cannot read says nothing of the rest

    def _kept(self, key: str) -> tuple[Remark, ...] | None:
        data = self._store.cached(_KIND, key)
        if data is None:
            return None
        try:
            return msgspec.msgpack.decode(data, type=tuple[Remark, ...])
        except (msgspec.DecodeError, ValueError):
            return None

    def _key(self, file: Containerfile) -> str:
        identity = self._engine.identity if self._engine else ""
        text = "".join(file.lines)
        return hashlib.sha256(
            "\0".join((_FORM, identity, text)).encode("utf-8", "surrogateescape")
        ).hexdigest()


def _is_base(file: Containerfile, line: int) -> bool:
    """Whether a line is a FROM, without which there is no file left to judge."""
    return any(target.line == line for target in file.targets)
