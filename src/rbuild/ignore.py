"""`.containerignore` and `.dockerignore` as Buildah applies them.

Buildah's rules are not Docker's: comments only at the start of a line, patterns that become Go regular
expressions with little escaping (containers/storage `pkg/fileutils`), and a walk that does not go into an
excluded directory unless a `!` pattern begins with its name (`copier.Get`).
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from itertools import groupby

from rbuild.containerfile.words import SPACES
from rbuild.errors import Problem, RbuildError, Where

MAX_SIZE = 1024 * 1024
MAX_PATTERNS = 5000
_MAX_OPEN_ENDED = 3

_MEMBER = r"(?:\\[^\w\s]|[^\\\]\[*?/-])"
_CLASS = re.compile(rf"\[\^?(?:{_MEMBER}(?:-{_MEMBER})?)+\]")
_REPETITION = re.compile(r"\{[0-9]+(?:,[0-9]*)?\}")


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The rules of one file. Paths are relative to the context, with `/`, without `./` or a trailing `/`."""

    patterns: tuple[str, ...]  # cleaned, `!` kept, in order
    _runs: tuple[tuple[bool, re.Pattern[str]], ...] = field(repr=False, compare=False)  # last first
    _exceptions: tuple[str, ...] = field(repr=False, compare=False)
    _pruned: dict[str, bool] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def parse(cls, text: bytes, name: str = ".containerignore") -> IgnoreRules:
        """Read an ignore file. Raises RbuildError with every pattern that Buildah refuses, or that it reads
        as a regular expression where a file name was meant."""
        lines = text[: MAX_SIZE + 1].decode("utf-8", "surrogateescape").split("\n")
        if len(text) > MAX_SIZE or len(lines) > MAX_PATTERNS:
            raise RbuildError(
                f"an ignore file may have {MAX_SIZE} bytes and {MAX_PATTERNS} lines", where=Where(file=name)
            )
        patterns: list[tuple[bool, str, str]] = []
        problems: list[Problem] = []
        for number, line in enumerate(lines, start=1):
            pattern = "" if line.startswith("#") else line.strip("/").strip(SPACES)
            if not pattern:
                continue
            pattern = _clean(pattern)
            excepted = pattern.startswith("!")
            try:
                if pattern == "!":
                    raise ValueError("`!` without a pattern")
                if excepted:
                    pattern = _clean(pattern[1:]).removeprefix("/")
                patterns.append((excepted, pattern, _translate(pattern)))
            except ValueError as error:
                problems.append(
                    Problem(
                        what=f"{line[:200].rstrip()}: {error}",
                        where=Where(file=name, line=number),
                        hint="a backslash before a character makes it stand for itself",
                    )
                )
        if problems:
            raise RbuildError(problems)
        runs = [
            (excepted, re.compile("|".join(f"(?:{regex})" for _, _, regex in run)))
            for excepted, run in groupby(patterns, key=lambda item: item[0])
        ]
        return cls(
            patterns=tuple(f"!{pattern}" if excepted else pattern for excepted, pattern, _ in patterns),
            _runs=tuple(reversed(runs)),
            _exceptions=tuple(f"{pattern.strip('/')}/" for excepted, pattern, _ in patterns if excepted),
        )

    def matches(self, path: str) -> bool:
        """Whether the last pattern that matches `path`, or a directory that holds it, excludes it.

        This is what a COPY that names `path` itself goes by.
        """
        return next((not excepted for excepted, regex in self._runs if regex.fullmatch(path)), False)

    def prunes(self, directory: str) -> bool:
        """Whether a walk need not go into `directory`: excluded, and no `!` pattern begins with its name."""
        pruned = self._pruned.get(directory)
        if pruned is None:
            open_for = any(exception.startswith(directory) for exception in self._exceptions)
            pruned = self._pruned[directory] = not open_for and self.matches(directory)
        return pruned

    def ignored(self, path: str) -> bool:
        """Whether `COPY . /` leaves `path` out, because of itself or because the walk does not get there.

        A directory that is ignored yet not pruned may still come to be, for the sake of what it holds.
        """
        slash = path.find("/")
        while slash >= 0:
            if self.prunes(path[:slash]):
                return True
            slash = path.find("/", slash + 1)
        return self.matches(path)


def _clean(pattern: str) -> str:
    """Go's filepath.Clean; Python's normpath keeps two leading slashes."""
    cleaned = posixpath.normpath(pattern)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _translate(pattern: str) -> str:
    """The regular expression that matches what `pattern` excludes: the path and all below it."""
    segments = [[""]]  # cut at each `**`, and those at each `*`
    tail = ""
    position = 0
    while position < len(pattern):
        if pattern.startswith("**", position):
            position += 3 if pattern.startswith("**/", position) else 2
            if position == len(pattern):
                tail = ".*"
            elif len(segments) == 1 or segments[-1] != [""]:
                segments.append([""])
        elif pattern[position] == "*":
            position += 1
            segments[-1].append("")
        else:
            regex, position = _translate_one(pattern, position)
            segments[-1][-1] += regex
    out = ""
    open_ended = 0
    for number, chunks in enumerate(segments):
        # An atomic group finds the first match and sticks to it, which keeps the time linear. That is right
        # wherever another wildcard follows, unless a class like `[^a]` can match a `/`.
        crosses = "[^" in "".join(chunks).replace("[^/]", "")
        body = chunks[0]
        for chunk in chunks[1:-1]:
            body += f"[^/]*{chunk}" if crosses else f"(?>[^/]*?{chunk})"
        if len(chunks) > 1:
            body += f"[^/]*{chunks[-1]}"
        if number == 0:
            out += body
        elif body.endswith("/") and number < len(segments) - 1 and not crosses:
            out += f"(?>(?:.*?/)??{body})"
        else:
            out += f"(?:.*/)?{body}"
            open_ended += 1
        open_ended += len(chunks) - 1 if crosses else 0
    if open_ended > _MAX_OPEN_ENDED:
        raise ValueError("too many wildcards that a `/` does not bound")
    return f"{out}{tail}(?:/.*)?"


def _translate_one(pattern: str, position: int) -> tuple[str, int]:
    """The regular expression for one character or class, and where the next begins."""
    ch = pattern[position]
    if ch == "?":
        return "[^/]", position + 1
    if ch == "[":
        match = _CLASS.match(pattern, position)
        if not match or any(pair in match[0] for pair in ("&&", "||", "~~")):  # set operations to Python
            raise ValueError("`[` begins no class that Podman understands")
        try:
            re.compile(match[0])
        except re.error as error:
            raise ValueError(f"not a class: {match[0]}") from error
        return match[0], match.end()
    if ch == "\\":
        ch = pattern[position + 1 : position + 2]
        if not ch or ch.isalnum():
            raise ValueError("a backslash may only stand before a special character")
        return re.escape(ch), position + 2
    if ch in "+()|^" or _REPETITION.match(pattern, position):
        raise ValueError(f"Podman reads `{ch}` as part of a regular expression")
    return re.escape(ch), position + 1
