"""Hostile YAML in, nodes with line numbers out.

What rbuild reads is a small part of YAML: mappings, sequences and scalars. Anchors, aliases, tags, duplicate
keys and further documents are refused, since each makes a file mean something else than it seems to say.
The parser's events are turned into nodes one by one, without recursion, so that depth and number of nodes
are bounded before memory is spent on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NoReturn

from rbuild.errors import Problem, RbuildError, Where

MIB: Final = 1 << 20
_MAX_DEPTH: Final = 64
_MAX_PROBLEMS: Final = 100
_CONFLICT = re.compile(rb"^(?:<{7}|>{7})(?: |\r?$)", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z0-9_-]+\Z")

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Scalar:
    """A text, as written; `plain` where it stands without quotes, so that YAML may give it another type."""

    line: int
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        """Whether nothing was written, or one of YAML's words for it."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class Mapping:
    """Nodes by key. The line of a node is that of its key. `plain_keys` are those without quotes."""

    line: int
    items: dict[str, Node] = field(default_factory=dict)
    plain_keys: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Sequence:
    """Nodes in order."""

    line: int
    items: list[Node] = field(default_factory=list)


Node = Scalar | Mapping | Sequence


def key_path(path: Iterable[str | int]) -> str:
    """`stages.train.needs[0]`; a key that is no word is put into brackets: `bases["docker.io/x"].image`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _WORD.match(part):
            text += f".{part}" if text else part
        else:
            text += f"[{_clip(part)}]"
    return text


def implicit_type(text: str) -> str | None:
    """What YAML 1.1 takes an unquoted `text` for, in words, or None where it stays a text."""
    for tag, pattern in _resolvers().get(text[:1], ()):
        if pattern.match(text):
            return _TAGS[tag.rpartition(":")[2]]
    return None


_TAGS: Final = {
    "bool": "true or false",
    "float": "a number",
    "int": "a number",
    "merge": "a merge key",
    "null": "nothing",
    "timestamp": "a date",
    "value": "a default key",
    "yaml": "a directive",
}


@cache
def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    import yaml  # 30 ms, which a command that finds its lock in the cache does not pay

    return yaml.SafeLoader.yaml_implicit_resolvers


def _clip(text: str) -> str:
    return f'"{text[:200]}"' if text.isprintable() else repr(text[:200])


class Document:
    """A file's nodes, and the problems that were found in it so far.

    Raises RbuildError at once for what cannot be read at all: too large, not UTF-8, not YAML, a merge
    conflict, or more problems than anybody would read. Everything else is collected, and raised by `finish`.
    `hint` is for problems without their own.
    """

    def __init__(
        self, data: bytes, *, file: str, max_size: int, max_nodes: int, hint: str | None = None
    ) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._hint = hint
        if len(data) > max_size:
            self._give_up(f"is larger than {max_size / MIB:g} MiB")
        if conflict := _CONFLICT.search(data):
            self._give_up(
                "holds a merge conflict",
                _line_at(data, conflict.start()),
                hint or "choose one of the two sides, and remove the markers",
            )
        try:
            data.decode()
        except UnicodeDecodeError as error:
            self._give_up("is not UTF-8 text", _line_at(data, error.start))
        self.root = self._compose(data, max_nodes)

    def node(self, *path: str | int) -> Node | None:
        """The node at `path`, or None."""
        node: Node | None = self.root
        for part in path:
            if isinstance(node, Mapping) and isinstance(part, str):
                node = node.items.get(part)
            elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
            else:
                return None
        return node

    def keys(self, *path: str | int) -> tuple[str, ...]:
        """The keys of the mapping at `path`, in the file's order; none where there is no mapping."""
        node = self.node(*path)
        return tuple(node.items) if isinstance(node, Mapping) else ()

    def where(self, *path: str | int) -> Where:
        """The place of `path`; where the file does not have it, the line of what would hold it."""
        holder: Node = self.root
        for end in range(len(path), 0, -1):
            if found := self.node(*path[:end]):
                holder = found
                break
        return Where(file=self.file, line=holder.line, key=key_path(path) or None)

    def problem(self, what: str, *path: str | int, hint: str | None = None) -> None:
        """Note that something is wrong at `path`."""
        self._note(what, self.where(*path), hint)

    def finish(self) -> None:
        """Raises RbuildError with all problems, in the order of the file's lines, if there are any."""
        if self.problems:
            last = float("inf")
            raise RbuildError(
                sorted(self.problems, key=lambda problem: (problem.where and problem.where.line) or last)
            )

    def _note(self, what: str, where: Where, hint: str | None = None) -> None:
        if len(self.problems) == _MAX_PROBLEMS:
            self.problems.append(Problem(what="has more problems than these", where=Where(file=self.file)))
            self.finish()
        self.problems.append(Problem(what=what, where=where, hint=hint or self._hint))

    def _give_up(self, what: str, line: int | None = None, hint: str | None = None) -> NoReturn:
        self._note(what, Where(file=self.file, line=line), hint)
        self.finish()
        raise AssertionError("a problem was noted")

    def _compose(self, data: bytes, max_nodes: int) -> Node:
        import yaml

        def note(what: str, line: int, path: Path) -> None:
            self._note(what, Where(file=self.file, line=line, key=key_path(path) or None))

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data)
        composer = _Composer(note, max_nodes)
        try:
            while not isinstance(event := loader.get_event(), yaml.StreamEndEvent):
                composer.take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part)
            self._give_up(f"is not YAML: {what}", mark.line + 1 if mark else None)
        except yaml.reader.ReaderError as error:
            line = _line_at(data, error.position)
            self._give_up(f"is not YAML: {error.reason} (#x{error.character:04x})", line)
        except _Unreadable as error:
            self._give_up(error.what, error.line)
        finally:
            loader.dispose()
        return composer.root or self._give_up("is empty")


def _line_at(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


class _Unreadable(Exception):
    def __init__(self, what: str, line: int) -> None:
        self.what, self.line = what, line
        super().__init__(what)


@dataclass(slots=True)
class _Frame:
    """A collection that is still open. `key` is that of the value which comes next, once it was read."""

    node: Mapping | Sequence
    path: Path
    key: Scalar | None = None

    def next_path(self) -> Path:
        if isinstance(self.node, Sequence):
            return (*self.path, len(self.node.items))
        return (*self.path, self.key.text) if self.key else self.path


class _Composer:
    """Builds nodes from the events of one document."""

    def __init__(self, note: Callable[[str, int, Path], None], max_nodes: int) -> None:
        self.root: Node | None = None
        self._note = note
        self._open: list[_Frame] = []
        self._nodes_left = max_nodes

    def take(self, event: Any) -> None:
        """The next event. Raises _Unreadable when what follows cannot be read any more."""
        line = event.start_mark.line + 1
        match type(event).__name__:
            case "ScalarEvent":
                self._refuse_marks(event, line)
                self._place(Scalar(line, event.value, event.implicit[0]), line)
            case "MappingStartEvent":
                self._enter(Mapping(line), event, line)
            case "SequenceStartEvent":
                self._enter(Sequence(line), event, line)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._open.pop()
            case "AliasEvent":
                raise _Unreadable(f"an alias (*{event.anchor}) is not allowed; write the value out", line)
            case "DocumentStartEvent" if self.root is not None:
                raise _Unreadable("a second document is not allowed; remove the line ---", line)

    def _enter(self, node: Mapping | Sequence, event: Any, line: int) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise _Unreadable(f"is nested deeper than {_MAX_DEPTH} levels", line)
        self._refuse_marks(event, line)
        path = self._open[-1].next_path() if self._open else ()
        self._place(node, line)
        self._open.append(_Frame(node, path))

    def _place(self, node: Node, line: int) -> None:
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise _Unreadable("holds more values than rbuild reads", line)
        if not self._open:
            self.root = node
            return
        frame = self._open[-1]
        if isinstance(frame.node, Sequence):
            frame.node.items.append(node)
        elif frame.key is None:
            if not isinstance(node, Scalar):
                raise _Unreadable("a key must be a text", line)
            frame.key = node
        else:
            key, frame.key = frame.key, None
            node.line = key.line
            if key.text in frame.node.items:
                first = frame.node.items[key.text].line
                self._note(f"is there twice; first on line {first}", key.line, (*frame.path, key.text))
                return
            frame.node.items[key.text] = node
            if key.plain:
                frame.node.plain_keys.add(key.text)

    def _refuse_marks(self, event: Any, line: int) -> None:
        path = self._open[-1].next_path() if self._open else ()
        if event.anchor is not None:
            self._note(f"an anchor (&{event.anchor}) is not allowed", line, path)
        if event.tag is not None:
            self._note(f"a tag ({event.tag}) is not allowed", line, path)
