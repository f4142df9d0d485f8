"""A shell script as its simple commands: what rules need of it, and no more.

Never raises, and takes time in proportion to the script: what is open at the end counts as closed there, and
what is nested deeper than anybody writes by hand is not looked into.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field, replace

_MAX_DEPTH = 24  # of groups and substitutions, which are read in one pass
_PLAIN = re.compile(r"[^\s'\"\\$`;&|<>()#]+")
_BLANKS = re.compile(r"(?:[ \t\r\f\v]|\\\n)+")
_VARIABLE = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-])")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:\[[^]]*\])?\+?=")
_REDIRECTION = re.compile(
    r"(?P<fd>[0-9]*|\{[A-Za-z_][A-Za-z0-9_]*\}|&)(?P<sign><<<|<<-?|<>|<&|<|>>|>\||>&|>)"
)
_HEREDOC_WORD = re.compile(r"[ \t]*(?P<word>(?:'[^'\n]*'|\"[^\"\n]*\"|\\.|[^\s;&|<>()'\"\\])+)")
_FUNCTION = re.compile(r"[ \t]*\([ \t]*\)")
_LINE_END = re.compile(r"\n|\Z")

_OPENING = {"if": "fi", "while": "done", "until": "done", "{": "}"}
_PASSED = frozenset({"then", "elif", "else", "do", "!", "time", "coproc"})
_CLOSING = frozenset({"fi", "done", "esac", "}"})


@dataclass(frozen=True, slots=True)
class Redirection:
    """`2>>file` is ("2", ">>", "file"); a here-document has its name as target, and its text in `body`."""

    fd: str
    sign: str
    target: str
    body: str = ""
    body_at: int = 0  # where the body begins in the script


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple command. Quotes are removed from `words`; variables and substitutions stand as written.

    `at` are the words' places in the script. `pipelines` are the pipelines that it is in, from the outermost,
    each with its place there. `joined` is the operator before it. `inside` is the number of the command in
    whose words it is substituted.
    """

    number: int
    words: tuple[str, ...]
    at: tuple[int, ...]
    start: int
    end: int
    assignments: tuple[tuple[str, str], ...]
    redirections: tuple[Redirection, ...]
    pipelines: tuple[tuple[int, int], ...]
    joined: str
    inside: int | None


@dataclass(slots=True)
class _Open:
    """A simple command while it is read."""

    number: int
    start: int
    end: int = 0
    pipelines: tuple[tuple[int, int], ...] = ()
    joined: str = ""
    inside: int | None = None
    words: list[str] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    assignments: list[tuple[str, str]] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)

    def closed(self) -> Simple:
        return Simple(
            number=self.number,
            words=tuple(self.words),
            at=tuple(self.at),
            start=self.start,
            end=self.end,
            assignments=tuple(self.assignments),
            redirections=tuple(self.redirections),
            pipelines=self.pipelines,
            joined=self.joined,
            inside=self.inside,
        )


@dataclass(slots=True)
class _Awaited:
    """A here-document whose text begins after the end of the line."""

    name: str
    chomp: bool
    command: _Open
    index: int  # among the command's redirections


class Script:
    """Reads a script once."""

    def __init__(self, text: str, depth: int = 0) -> None:
        self._text = text
        self._at = 0
        self._depth = depth
        self._numbers = 0
        self._pipelines = 0
        self._around: tuple[tuple[int, int], ...] = ()
        self._inside: int | None = None
        self._awaited: list[_Awaited] = []
        self._finished: list[_Open | Simple] = []

    def read(self) -> tuple[Simple, ...]:
        """Every simple command, in the order in which they begin."""
        while self._at < len(self._text):
            self._list(frozenset())
            self._at += 1  # a `)` or a closing word that closes nothing
        self._bodies()
        closed = (one.closed() if isinstance(one, _Open) else one for one in self._finished)
        return tuple(sorted(closed, key=lambda one: one.number))

    def _list(self, stops: frozenset[str]) -> None:
        """Commands up to one of the stops (`)`, `;;`, fi, done, …), which is consumed, or a lone `)`."""
        joined, pipeline, place = "", self._pipeline(), 0
        while self._at < len(self._text):
            self._blanks()
            text, at = self._text, self._at
            sign = text[at : at + 1]
            if not sign:
                return
            if sign == ")":
                if ")" in stops:
                    self._at += 1
                return
            if text.startswith(";;", at) or text.startswith(";&", at):
                if ";;" in stops:
                    return
                self._at += 2
                continue
            operator = self._operator()
            if operator:
                joined = operator
                if operator in ("|", "|&"):
                    place += 1
                else:
                    pipeline, place = self._pipeline(), 0
                continue
            if self._compound((*self._around, (pipeline, place)), stops, joined):
                return

    def _operator(self) -> str:
        text, at = self._text, self._at
        for operator in ("&&", "||", "|&", "\n", ";", "|", "&"):
            if text.startswith(operator, at):
                if operator == "&" and text.startswith("&>", at):
                    return ""
                self._at += len(operator)
                if operator == "\n":
                    self._bodies()
                return operator
        return ""

    def _compound(self, around: tuple[tuple[int, int], ...], stops: frozenset[str], joined: str) -> bool:
        """Read one command, simple or compound; True at a stop."""
        text, at = self._text, self._at
        if text.startswith("((", at):
            self._at += 2
            self._arithmetic()
            return False
        if text[at] == "(":
            self._at += 1
            self._nested(around, frozenset({")"}))
            return False
        word = self._bare_word()
        if word in stops:
            self._at += len(word)
            return True
        if word in _PASSED or word in _CLOSING:
            self._at += len(word)
            return False
        if word in _OPENING:
            self._at += len(word)
            self._nested(around, frozenset({_OPENING[word]}))
        elif word in ("for", "select"):
            self._at += len(word)
            self._header(around)
            self._nested(around, frozenset({"done"}))
        elif word == "case":
            self._at += len(word)
            self._case(around)
        elif word == "[[":
            self._test(around, joined)
        elif word == "function":
            self._at += len(word)
            self._blanks()
            self._at += len(self._bare_word())
            self._function()
        else:
            self._simple(around, joined)
        return False

    def _nested(self, around: tuple[tuple[int, int], ...], stops: frozenset[str]) -> None:
        if self._depth >= _MAX_DEPTH:
            return  # what follows is read as if it stood outside
        kept, self._around = self._around, around
        self._depth += 1
        self._list(stops)
        self._depth -= 1
        self._around = kept

    def _header(self, around: tuple[tuple[int, int], ...]) -> None:
        """`for NAME in WORDS`: its words are no command, but there may be substitutions in them."""
        self._words_of(_Open(self._number(), self._at), around)

    def _case(self, around: tuple[tuple[int, int], ...]) -> None:
        self._blanks()
        self._word(_Open(self._number(), self._at))
        self._blanks()
        if self._bare_word() == "in":
            self._at += 2
        while self._at < len(self._text):
            self._blanks(newlines=True)
            if self._bare_word() == "esac":
                self._at += 4
                return
            while self._at < len(self._text) and self._text[self._at] not in ")\n;":
                before = self._at
                self._word(_Open(self._number(), self._at))
                self._at += self._at == before  # `(`, `|`, a blank, or what does not belong here
            self._at += 1
            if self._depth >= _MAX_DEPTH:
                return
            self._nested(around, frozenset({";;", "esac"}))
            if self._text.startswith((";;", ";&"), self._at):
                self._at += 3 if self._text.startswith(";;&", self._at) else 2
            elif self._text[max(self._at - 4, 0) : self._at] == "esac":
                return

    def _test(self, around: tuple[tuple[int, int], ...], joined: str) -> None:
        """`[[ … ]]`, in which && and || join no commands."""
        command = _Open(self._number(), self._at)
        while self._at < len(self._text) and self._text[self._at] not in "\n":
            self._blanks()
            sign = self._text[self._at : self._at + 1]
            if sign and sign in "&|<>();":
                self._at += 1
                continue
            if not sign or sign == "\n":
                break
            self._take_word(command)
            if command.words and command.words[-1] == "]]":
                break
        self._close(command, around, joined)

    def _function(self) -> None:
        if match := _FUNCTION.match(self._text, self._at):
            self._at = match.end()

    def _simple(self, around: tuple[tuple[int, int], ...], joined: str) -> None:
        command = _Open(self._number(), self._at)
        start = self._at
        self._words_of(command, around)
        if len(command.words) == 1 and self._text.startswith("(", self._at) and not command.assignments:
            self._function()  # NAME () { … }
            if self._text[self._at - 1] == ")":
                return
            self._at += 1
        if self._at == start:
            self._at += 1  # nothing that a command begins with
            return
        self._close(command, around, joined)

    def _words_of(self, command: _Open, around: tuple[tuple[int, int], ...]) -> None:
        while self._at < len(self._text):
            self._blanks()
            text, at = self._text, self._at
            if at >= len(text) or text[at] in "\n;|()" or (text[at] == "&" and text[at + 1 : at + 2] != ">"):
                if text.startswith("(", at) and self._array(command):
                    continue
                return
            redirection = _REDIRECTION.match(text, at)
            if redirection and not text.startswith(("<(", ">("), at):
                self._redirect(command, redirection)
            else:
                self._take_word(command)

    def _array(self, command: _Open) -> bool:
        """`NAME=( … )`: the words in it are those of the array."""
        if not command.assignments or command.words or command.assignments[-1][1]:
            return False
        self._at += 1
        while self._at < len(self._text) and self._text[self._at] != ")":
            self._blanks(newlines=True)
            if self._text[self._at : self._at + 1] in ("", ")"):
                break
            before = self._at
            self._word(command)
            self._at += self._at == before
        self._at += 1
        return True

    def _take_word(self, command: _Open) -> None:
        at = self._at
        word = self._word(command)
        if self._at == at:
            self._at += 1
            return
        match = None if command.words else _ASSIGNMENT.match(self._text, at, self._at)
        if match:
            command.assignments.append((match["name"], word[match.end() - at :]))
        else:
            command.words.append(word)
            command.at.append(at)

    def _redirect(self, command: _Open, match: re.Match[str]) -> None:
        self._at = match.end()
        sign, fd = match["sign"], match["fd"]
        if sign in ("<<", "<<-"):
            name = _HEREDOC_WORD.match(self._text, self._at)
            if name:
                self._at = name.end()
                said = re.sub(r"['\"\\]", "", name["word"])
                index = len(command.redirections)
                self._awaited.append(_Awaited(said, sign == "<<-", command, index))
            command.redirections.append(Redirection(fd, sign, name["word"] if name else ""))
            return
        self._blanks()
        command.redirections.append(Redirection(fd, sign, self._word(command)))

    def _bodies(self) -> None:
        """After the end of a line: the here-documents that it announced."""
        for awaited in self._awaited:
            start = self._at
            while self._at < len(self._text):
                match = _LINE_END.search(self._text, self._at)
                assert match is not None
                line = self._text[self._at : match.start()].rstrip("\r")
                body_end, self._at = self._at, match.end()
                if (line.lstrip("\t") if awaited.chomp else line) == awaited.name:
                    break
                body_end = self._at
            else:
                body_end = self._at
            old = awaited.command.redirections[awaited.index]
            awaited.command.redirections[awaited.index] = Redirection(
                old.fd, old.sign, awaited.name, self._text[start:body_end], start
            )
        self._awaited = []

    def _close(self, command: _Open, around: tuple[tuple[int, int], ...], joined: str) -> None:
        command.end, command.inside = min(self._at, len(self._text)), self._inside
        command.pipelines, command.joined = around, joined
        self._finished.append(command)

    def _word(self, command: _Open) -> str:
        """One word; empty, and nothing consumed, where none begins."""
        text, out = self._text, []
        while (at := self._at) < len(text):
            ch = text[at]
            if match := _PLAIN.match(text, at):
                self._at = match.end()
                out.append(match[0])
            elif ch == "'":
                end = text.find("'", at + 1)
                self._at = len(text) if end < 0 else end + 1
                out.append(text[at + 1 : len(text) if end < 0 else end])
            elif ch == '"':
                self._at += 1
                out.append(self._quoted(command))
            elif ch == "\\":
                out.append("" if text.startswith("\n", at + 1) else text[at + 1 : at + 2])
                self._at += 2
            elif ch == "$":
                out.append(self._dollar(command, quoted=False))
            elif ch == "`":
                out.append(self._backticks(command))
            elif text.startswith(("<(", ">("), at) and not out:
                self._at += 2
                self._substitution(command)
                out.append(text[at : self._at])
            elif ch == "#" and out:
                self._at += 1
                out.append(ch)
            else:
                break
        return "".join(out)

    def _quoted(self, command: _Open) -> str:
        text, out = self._text, []
        while (at := self._at) < len(text):
            ch = text[at]
            if ch == '"':
                self._at += 1
                break
            if ch == "\\":
                following = text[at + 1 : at + 2]
                out.append("" if following == "\n" else following if following in '"$`\\' else ch + following)
                self._at += 2
            elif ch == "$":
                out.append(self._dollar(command, quoted=True))
            elif ch == "`":
                out.append(self._backticks(command))
            else:
                end = _QUOTED_PLAIN.match(text, at)
                assert end is not None
                self._at = end.end()
                out.append(end[0])
        return "".join(out)

    def _dollar(self, command: _Open, *, quoted: bool) -> str:
        text, at = self._text, self._at
        if text.startswith("$((", at):
            self._at += 3
            self._arithmetic()
        elif text.startswith("$(", at):
            self._at += 2
            self._substitution(command)
        elif text.startswith("${", at):
            self._braces()
        elif not quoted and text.startswith("$'", at):
            end = re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL).match(text, at + 2)
            assert end is not None
            self._at = min(end.end() + 1, len(text))
            return end[0]
        elif match := _VARIABLE.match(text, at):
            self._at = match.end()
        else:
            self._at += 1
        return text[at : self._at]

    def _braces(self) -> None:
        """`${…}`, nested ones counted; quotes in it are not looked at."""
        depth = 0
        while self._at < len(self._text):
            if self._text.startswith("${", self._at):
                depth += 1
                self._at += 1
            elif self._text[self._at] == "}":
                depth -= 1
            elif self._text[self._at] == "\\":
                self._at += 1
            self._at += 1
            if depth == 0:
                return

    def _arithmetic(self) -> None:
        """Up to the `))`; parentheses within are counted."""
        depth = 2
        while self._at < len(self._text) and depth:
            depth += {"(": 1, ")": -1}.get(self._text[self._at], 0)
            self._at += 1

    def _substitution(self, command: _Open) -> None:
        """What `$(` or `<(` runs, up to its `)`."""
        if self._depth >= _MAX_DEPTH:
            self._at = len(self._text)
            return
        kept = self._around, self._inside
        self._around, self._inside = (), command.number
        self._depth += 1
        self._list(frozenset({")"}))
        self._depth -= 1
        self._around, self._inside = kept

    def _backticks(self, command: _Open) -> str:
        at = self._at
        end = at + 1
        while end < len(self._text) and self._text[end] != "`":
            end += 2 if self._text[end] == "\\" else 1
        end = min(end, len(self._text))
        inner = self._text[at + 1 : end]
        self._at = min(end + 1, len(self._text))
        # Escapes stay where they are, so that places in the script hold: `…` in `…` is not looked into.
        if self._depth < _MAX_DEPTH:
            part = Script(inner.replace("\\`", "  "), _MAX_DEPTH)
            shift = self._numbers
            for one in part.read():
                self._numbers = max(self._numbers, shift + one.number + 1)
                self._finished.append(_moved(one, at + 1, shift, command.number))
            self._pipelines += part._pipelines
        return self._text[at : self._at]

    def _blanks(self, *, newlines: bool = False) -> None:
        """Skip blanks, continued lines and comments."""
        text = self._text
        while True:
            if match := _BLANKS.match(text, self._at):
                self._at = match.end()
            if text.startswith("#", self._at):
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif newlines and text.startswith("\n", self._at):
                self._at += 1
                self._bodies()
            else:
                return

    def _bare_word(self) -> str:
        """The word ahead if it is a reserved word or a name, without quotes; not consumed."""
        match = _PLAIN.match(self._text, self._at)
        if not match:
            return ""
        following = self._text[match.end() : match.end() + 1]
        return match[0] if following == "" or following in " \t\n\r;&|<>()" else ""

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers - 1

    def _pipeline(self) -> int:
        self._pipelines += 1
        return self._pipelines - 1


_QUOTED_PLAIN = re.compile(r"[^\"\\$`]+")


def _moved(one: Simple, by: int, numbers: int, inside: int) -> Simple:
    """A command of a part of the script, as one of the script; its pipelines are no others'."""
    return replace(
        one,
        number=one.number + numbers,
        at=tuple(at + by for at in one.at),
        start=one.start + by,
        end=one.end + by,
        pipelines=tuple((-1 - numbers - number, place) for number, place in one.pipelines),
        inside=inside if one.inside is None else one.inside + numbers,
    )


def read_script(text: str) -> tuple[Simple, ...]:
    """The simple commands of a POSIX or Bash script, in the order in which they begin.

    Those of groups, loops, conditions, functions and substitutions are among them.
    """
    return Script(text).read()


def line_starts(text: str) -> tuple[int, ...]:
    """Where each line of a text begins."""
    return (0, *(match.end() for match in re.finditer("\n", text)))


def line_at(starts: tuple[int, ...], at: int) -> int:
    """The line, from 0, on which a character stands."""
    return bisect_right(starts, at) - 1
