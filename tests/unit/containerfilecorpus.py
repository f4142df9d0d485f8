"""Containerfiles as nobody would write them, made from a seed: the same every time, on every machine.

Each has an instruction or more that is easily overlooked, or seen where there is none: escapes,
continuations, comments in the middle of them, here-documents, odd spaces and letters, line ends, directives,
flags, and what is nearly JSON.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

_BLANKS = (" ", " ", " ", " ", " ", "  ", "\t", " \t ", "\v", "\f", "\r")
_ODD = "\xa0\u2028\u2029\x85\ufeff\u200b\u200f\u202e\u3000\u2060\x1c\x1f\x7f\x00\u0301\U0001f600é"


def _table(text: str) -> tuple[str, ...]:
    """The words between `¦`; `%A0;` stands for U+00A0, and so on."""
    words = (word.strip(" \n") for word in text.split("¦"))
    return tuple(re.sub(r"%([0-9A-F]+);", lambda found: chr(int(found[1], 16)), word) for word in words)


_WORDS = _table(r"""
    a ¦ b ¦ /x ¦ -c ¦ --y ¦ - ¦ -- ¦ = ¦ a=b ¦ a='b c' ¦ a="b c" ¦ ' ¦ " ¦ '' ¦ "" ¦ $A ¦ ${A}
    ¦ ${A:-b} ¦ ${A:-b c}
    ¦ ${A-'b c'} ¦ ${A:+$B} ¦ ${A ¦ $ ¦ $$ ¦ ${A#b} ¦ ${A/b/c} ¦ # ¦ #x ¦ x#y ¦ [ ¦ ] ¦ ["a"] ¦ {}
    ¦ && ¦ || ¦ ;
    ¦ | ¦ > ¦ < ¦ << ¦ <<< ¦ ` ¦ \ ¦ \\ ¦ \a ¦ \%20; ¦ a\ ¦ a` ¦ `` ¦ \$A ¦ $(x) ¦ ((1<<2)) ¦ FROM
    ¦ RUN ¦ RUN x
    ¦ USER ¦ \n ¦ é ¦ à ¦ %2005; ¦ ẞ ¦ ſ ¦ İ ¦ %212A; ¦ 日本 ¦ %660; ¦ ²
""")
_KEYWORDS = _table("""
    RUN ¦ RUN ¦ RUN ¦ CMD ¦ ENTRYPOINT ¦ ENV ¦ ENV ¦ LABEL ¦ COPY ¦ ADD ¦ ARG ¦ USER ¦ WORKDIR ¦ VOLUME
    ¦ EXPOSE ¦ SHELL ¦ STOPSIGNAL ¦ HEALTHCHECK ¦ MAINTAINER ¦ ONBUILD ¦ FROM
""")
_FLAGS = _table(r"""
    --mount=type=cache,target=/c ¦ --mount=type=bind,from='a b',target=/b ¦ --network=none ¦ --link
    ¦ --chown=1:1
    ¦ --chmod=755 ¦ --from=a ¦ --interval=5s ¦ --x="a b" ¦ --x=a\ b ¦ --
""")
_ODD_FLAGS = _table(r"""
    --x=' ¦ --x=a\ ¦ --- ¦ --"" ¦ --x=a\\ ¦ --x=%E9; ¦ --x=%E0; ¦ --x=%2005; ¦ --x%A0;y ¦ --x=%2800;y
    ¦ -%2D;x ¦ --%9;
""")
_ARGS = _table(r"""A ¦ A=1 ¦ A='b c' B ¦ A="# ¦ A=$B ¦ A=\ b ¦ A=b C=d ¦ A=b%A0;C ¦ A="b" c ¦ A=b\ ¦ =x""")
_NAMES = _table("A ¦ B ¦ a.b ¦ 'a b' ¦ A")
_VALUES = _table(
    r"""1 ¦ 'b c' ¦ "b c" ¦ b\ c ¦ $A ¦ ¦ "b\"c" ¦ b` ¦ \\ ¦ 'b\' ¦ é ¦ b#c ¦ %A0; ¦ a=b ¦ "b%A;"""
)
_JSON = _table(r"""
    ["a", "b"] ¦ [ "a" , "b c" ] ¦ ["a","b"] c ¦ ["a" "b"] ¦ ["a",] ¦ ['a', 'b'] ¦ ["a" ¦ [] ¦ [a]
    ¦ ["a", 1]
    ¦ [1e999] ¦ ["a", [1e999]] ¦ ["\u00e9\ud83d\ude00"] ¦ ["\ud800"] ¦ ["\x41"] ¦ [NaN] ¦ ["a\nb"] ¦ ["a\\"]
    ¦ ["a%9;b"] ¦ ["%A0;"] ¦ %A0;["a"] ¦ ["a", null] ¦ [["a"]] ¦ {"a": "b"} ¦ ["a"%A0;] ¦ ["#"]
    ¦ ["a", "${A}"]
    ¦ [01] ¦ [-] ¦ ["a"]] ¦ [%D;"a"%9;] ¦ ["a", "b"] ¦ ["a", "b"] ¦ ["/bin/sh", "-c"]
""")
_HEREDOCS = _table(r"""
    <<E ¦ <<-E ¦ <<'E' ¦ <<"E" ¦ <<-"E" ¦ 3<<E ¦ <<\E ¦ <<E'F' ¦ <<$A ¦ <<${A} ¦ <<E; ¦ <<E) ¦ <<<E
    ¦ a<<E ¦ << E ¦ <<
    ¦ <<- ¦ <<'' ¦ <<'E F' ¦ <<E\ F ¦ <<E< ¦ \<<E ¦ '<<E' ¦ "<<E" ¦ <<É ¦ ${A:-x <<E} ¦ ${A-'x <<E'}
    ¦ "${A:-x <<E}"
    ¦ ${A#x <<E} ¦ ${A:-\<<E} ¦ $(<<E) ¦ %A0;<<E ¦ <<E%A0; ¦ ["<<E"] ¦ ["<<E", <<E ¦ ${A:-<<E} <<E
    ¦ ' <<E ¦ # <<E
    ¦ ${²} <<E ¦ ${é} <<E ¦ ${@} <<E ¦ ${} <<E ¦ ${A:=x <<E} ¦ ${A/x <<E/y} ¦ "\a" <<E ¦ "\${A" <<E
    ¦ \" <<E ¦ %660;<<E
""")
_CONTENT = (
    *(
        "a\n",
        "RUN x\n",
        "FROM scratch\n",
        "\tE\n",
        "\t\tE\n",
        "E \n",
        " E\n",
        "# a comment\n",
        "a \\\n",
        "\n",
    ),
    *("\r\n", "E\r\n", "é\n", "\xa0E\n", "$A\n", "EF\n", "# escape=`\n", "\ufeffE\n", "USER a\n"),
)
_ENDS = ("E\n", "\tE\n", "E\r\n", "E\r\r\n", "E}\n", "E F\n", "${A}\n", "E'}\n", "É\n", "")
_HEADS = (
    *("", "", "", "", "", "", "\ufeff", "\n", "\xa0\n", "# a comment\n", "\ufeff# escape=`\n", "#\n", " \n"),
    *("# escape=`\n", "# escape=`\n", "#escape=\\\n", "# Escape = `\n", " # escape=`\n", "# escape=`\r\n"),
    *("# a comment\n# escape=`\n", "\n# escape=`\n", "# syntax=docker/dockerfile:1\n", "\xa0# escape=`\n"),
    *("# syntax=docker/dockerfile:1\n# escape=`\n", "# check=skip=all\n# escape=`\n", "# platform=linux\n"),
    *(
        "# escape=`\n# escape=\\\n",
        "# escape=x\n",
        "# escape=` or not\n",
        "# escape\xa0=`\n",
        "#\tescape\t=\t`\n",
    ),
    *("# escape=`\n# syntax=x\n", "# escape=`\n\n# escape=\\\n", "# escape=`\xa0\n", "#escape=`# x\n"),
    *("# escape=\n", "# x=y\n# escape=`\n", "ARG A=1\n", "ARG A=1 B\nARG C\n", "arg A=`\n", "\ufeffARG A\n"),
    *(
        "\ufeff\ufeff\n",
        "# syntax=a\n# syntax=b\n",
        "# escape = \\ \n# a\n",
        "\r# escape=`\n",
        "#escape=`\nARG B\n",
    ),
)


def corpus(count: int, *, first: int = 0, seed: str = "rbuild", heredocs: bool = True) -> Iterator[bytes]:
    """`count` files; with `heredocs` off, none that Podman 4 and 5 read differently for that alone."""
    for number in range(first, first + count):
        chance = random.Random(f"{seed} {number}")
        text = _Author(chance, heredocs).file()
        yield text.encode("utf-8", "surrogateescape")


class _Author:
    def __init__(self, chance: random.Random, heredocs: bool) -> None:
        self._chance = chance
        self._heredocs = heredocs
        self._words = [word for word in _WORDS if heredocs or "<<" not in word]
        self._head = chance.choice(_HEADS)
        directed = re.match(r"[^\S\n]*#[ \t]*escape[ \t]*=[ \t]*`", self._head.removeprefix("\ufeff"), re.I)
        self._escape = self._rarely("\\", "`", 0.05) if directed else self._rarely("`", "\\", 0.03)
        self._end = chance.choice(("\n", "\n", "\n", "\r\n"))

    def file(self) -> str:
        parts = [self._head, self._from(), self._newline()]
        for _ in range(self._chance.randint(1, 5)):
            parts += [self._between(), self._line()]
        text = "".join(parts)
        return self._rarely(text.rstrip("\r\n"), text)

    def _rarely(self, odd: str, usual: str, share: float = 0.1) -> str:
        return odd if self._chance.random() < share else usual

    def _newline(self) -> str:
        return self._rarely("\r\r\n", self._end, 0.01)

    def _gap(self) -> str:
        """What separates two words: blanks, and continuations with what may stand between their lines."""
        if self._chance.random() < 0.7:
            return self._chance.choice(_BLANKS)
        escape, end = self._escape, self._newline()
        first = self._chance.choice((f"{escape}{end}", f"{escape}{end}", f"{escape} \t{end}"))
        after = ("", "", "", "# c", "  # c", "", " \t", f"# c {escape}", "\xa0", f"#{end}{end}#", "\u2028# c")
        lines = self._chance.choice(after)
        if self._chance.random() < 0.04:
            lines = self._chance.choice((escape, "\ufeff# c", "# escape=`", "\x1c# c", f"{escape}{escape}"))
        return f" {first}{lines}{end if lines else ''}{self._rarely(' ', '', 0.8)}"

    def _odd_gap(self) -> str:
        """What only looks as if it separated two words, or did not."""
        odd, escape, end = self._chance.choice(_ODD), self._escape, self._newline()
        doubled = (f"{escape}{escape}{end}", f"{escape}{odd}{end}", f"{escape}\r{end}", f"{escape * 3}{end}")
        return self._chance.choice((odd, f"{odd} ", f" {odd}", *doubled))

    def _between(self) -> str:
        """What may stand between two instructions."""
        lines = ("", "# c", "  # c \\", "\xa0", "#", " \t", "\u2028# c", f"  # c {self._escape}", "\v")
        indent = self._chance.choice((" ", "\t", "\xa0", "\u2028", "\r", f"{self._escape}{self._end}"))
        kind = self._chance.random()
        return (
            f"{self._chance.choice(lines)}{self._newline()}" if kind < 0.2 else indent if kind < 0.3 else ""
        )

    def _tail(self) -> str:
        """What stands at the end of a line."""
        tails = (
            " ",
            "\t",
            "\xa0",
            "\u2028",
            "\r",
            " \v",
            " #c",
            "\x85",
            self._escape * 2,
            f"{self._escape * 2} ",
        )
        return self._rarely(self._chance.choice(tails), "", 0.1)

    def _from(self) -> str:
        keyword = self._chance.choice(("FROM", "FROM", "FROM", "from", "From"))
        flag = self._rarely("--platform=linux/amd64 ", "", 0.15)
        name = f"{self._gap()}{self._chance.choice(('AS', 'as', 'aS'))}{self._gap()}n"
        return f"{keyword}{self._gap()}{flag}scratch{self._rarely(name, '', 0.2)}"

    def _line(self) -> str:
        keyword = self._chance.choice(_KEYWORDS)
        name = self._rarely(keyword.lower(), keyword, 0.15)
        if self._chance.random() < 0.02:
            odd = (
                f"{name}\u200b",
                f"\ufeff{name}",
                name.replace("I", "İ"),
                name.replace("S", "ſ"),
                f"\\{name}",
            )
            name = self._chance.choice(
                (*odd, name.replace("K", "\u212a"), name.replace("i", "ı"), f"{name}:")
            )
        gap = self._odd_gap() if self._chance.random() < 0.015 else self._gap()
        body = self._arguments(keyword)
        if self._heredocs and keyword in ("RUN", "COPY", "ADD", "ONBUILD") and self._chance.random() < 0.5:
            body = self._heredoc(keyword)
        return f"{name}{gap}{body}{'' if body.endswith(chr(10)) else self._newline()}"

    def _arguments(self, keyword: str) -> str:
        return f"{self._flags(keyword)}{self._operands(keyword)}{self._tail()}"

    def _flags(self, keyword: str) -> str:
        share = 0.3 if keyword in ("RUN", "COPY", "ADD", "HEALTHCHECK") else 0.02
        flags = _ODD_FLAGS if self._chance.random() < 0.2 else _FLAGS
        return self._rarely(f"{self._chance.choice(flags)}{self._gap()}", "", share)

    def _operands(self, keyword: str) -> str:
        match keyword:
            case "ENV" | "LABEL":
                return self._pairs()
            case "ONBUILD":
                triggers = [word for word in _KEYWORDS if word not in ("ONBUILD", "FROM", "MAINTAINER")]
                trigger = self._chance.choice(triggers)
                return f"{self._rarely(trigger.lower(), trigger)}{self._gap()}{self._arguments(trigger)}"
            case "FROM":
                return f"scratch{self._rarely(f' AS n{self._chance.randint(0, 99)}', '', 0.3)}"
            case "HEALTHCHECK":
                return self._rarely("NONE", f"CMD{self._gap()}{self._plain()}", 0.2)
            case "ARG":
                return self._chance.choice(_ARGS)
            case "SHELL":
                return self._rarely(self._chance.choice(_JSON), '["/bin/sh", "-c"]', 0.3)
            case "COPY" | "ADD":
                return f"{self._word()}{self._gap()}{self._plain()}"
        return self._plain()

    def _plain(self) -> str:
        if self._chance.random() < 0.25:
            return self._chance.choice(_JSON)
        words = [self._word() for _ in range(self._chance.randint(1, 4))]
        return "".join(f"{self._gap() if number else ''}{word}" for number, word in enumerate(words))

    def _word(self) -> str:
        kind = self._chance.random()
        if kind < 0.5:
            return self._chance.choice("abcdefg")
        if kind < 0.52:
            return f"a{self._odd_gap()}b"
        return self._chance.choice(self._words)

    def _pairs(self) -> str:
        if self._chance.random() < 0.2:
            return f"{self._word()}{self._gap()}{self._plain()}"
        count = self._chance.randint(1, 3)
        pairs = [f"{self._chance.choice(_NAMES)}={self._chance.choice(_VALUES)}" for _ in range(count)]
        return "".join(f"{self._gap() if number else ''}{pair}" for number, pair in enumerate(pairs))

    def _heredoc(self, keyword: str) -> str:
        trigger = f"{self._rarely('COPY', 'RUN')}{self._gap()}" if keyword == "ONBUILD" else ""
        opening = self._chance.choice(_HEREDOCS if self._chance.random() < 0.6 else _HEREDOCS[:8])
        second = self._rarely(f"{self._gap()}<<{self._rarely('-', '')}F", "", 0.1)
        word = self._rarely(f"{self._word()}{self._gap()}", "")
        head = f"{trigger}{self._flags('RUN')}{word}{opening}{second}"
        target = f" {self._word()}" if keyword in ("COPY", "ADD") or self._chance.random() < 0.3 else ""
        content = "".join(self._chance.choice(_CONTENT) for _ in range(self._chance.randint(0, 3)))
        name = re.sub(r"[^\w;})$]", "", opening.rpartition("<")[2]) or "E"
        end = self._rarely(self._chance.choice(_ENDS), f"{name}{self._newline()}", 0.2)
        return (
            f"{head}{target}{self._tail()}{self._newline()}{content}{end}{'F' + self._end if second else ''}"
        )
