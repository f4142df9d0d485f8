"""Programs that run the command in their arguments: sudo, env, xargs, `sh -c`, …"""

from __future__ import annotations

import re
from dataclasses import dataclass

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"})

# For each: options whose value is the next word, and how many operands stand before the command.
_WRAPPERS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "sudo": ("ughpCrtTURD", ("--user", "--group", "--host", "--prompt", "--chdir", "--chroot"), 0),
    "doas": ("uC", (), 0),
    "env": ("uCS", ("--unset", "--chdir"), 0),
    "exec": ("a", (), 0),
    "command": ("", (), 0),
    "builtin": ("", (), 0),
    "time": ("fo", ("--format", "--output"), 0),
    "nice": ("n", ("--adjustment",), 0),
    "ionice": ("cn", ("--class", "--classdata"), 0),
    "nohup": ("", (), 0),
    "setsid": ("", (), 0),
    "stdbuf": ("ioe", (), 0),
    "timeout": ("ks", ("--kill-after", "--signal"), 1),
    "xargs": ("nPILdasE", ("--max-args", "--max-procs", "--replace", "--delimiter", "--arg-file"), 0),
    "flock": ("wE", ("--timeout",), 1),
    "chroot": ("", (), 1),
    "gosu": ("", (), 1),
    "su-exec": ("", (), 1),
    "setpriv": ("", (), 0),
    "fakeroot": ("lsi", (), 0),
    "eatmydata": ("", (), 0),
    "runuser": ("ugG", ("--user", "--group"), 0),
    "tini": ("pe", (), 0),
    "dumb-init": ("", (), 0),
    "busybox": ("", (), 0),
    "toybox": ("", (), 0),
}
_QUERIES = {"command": ("-v", "-V")}


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What is run in the end: the words from `first` on, or the script in the word `script`."""

    through: tuple[str, ...]
    first: int
    script: int | None = None


def program(word: str) -> str:
    """The name of a program, without its folder: `/usr/bin/python3` is python3."""
    return word.rpartition("/")[2]


def unwrap(words: tuple[str, ...]) -> Unwrapped:
    """See through the wrappers that a command begins with."""
    through: list[str] = []
    first = 0
    while first < len(words):
        name = program(words[first])
        if name in ("eval", "su") or name in SHELLS:
            return Unwrapped(tuple(through), first, _script(name, words, first))
        known = _WRAPPERS.get(name)
        if known is None:
            break
        after = _operand(words, first + 1, known[0], known[1], assignments=name in ("env", "sudo")) + known[2]
        asks = any(word in _QUERIES.get(name, ()) for word in words[first + 1 : after])
        if asks or after >= len(words):
            break
        through.append(name)
        first = after
    return Unwrapped(tuple(through), first)


def is_shell(words: tuple[str, ...]) -> bool:
    """Whether a SHELL, or what `#!` names, is one whose language is read here."""
    names = [program(word) for word in words if not word.startswith("-")]
    return any(name in SHELLS for name in names[:2]) if names[:1] != ["env"] else is_shell(words[1:])


def executed(words: tuple[str, ...]) -> tuple[int, ...]:
    """Where the commands begin that `find … -exec` runs."""
    if not words or program(words[0]) != "find":
        return ()
    starts = ("-exec", "-execdir", "-ok")
    return tuple(at + 1 for at, word in enumerate(words[:-1]) if word in starts)


def _operand(words: tuple[str, ...], at: int, short: str, long: tuple[str, ...], *, assignments: bool) -> int:
    while at < len(words):
        word = words[at]
        if word == "--":
            return at + 1
        if word.startswith("-") and len(word) > 1:
            takes_next = word in long if word.startswith("--") else word[-1] in short
            at += 2 if takes_next else 1
        elif assignments and "=" in word and word.partition("=")[0].isidentifier():
            at += 1
        else:
            return at
    return at


def _script(name: str, words: tuple[str, ...], first: int) -> int | None:
    """The word that holds what a shell is to run; None where it runs a file, or what it reads."""
    if name == "eval":
        return first + 1 if first + 1 < len(words) else None
    at, wanted = first + 1, False
    while at < len(words):
        word = words[at]
        if word == "--command" or re.match(r"-[A-Za-z]*c", word):
            wanted = True
        elif word in ("-o", "+o", "-O", "+O", "--rcfile", "--init-file"):
            at += 1
        elif not word.startswith(("-", "+")):
            if wanted:
                return at
            if name != "su":
                return None
        at += 1
    return None
