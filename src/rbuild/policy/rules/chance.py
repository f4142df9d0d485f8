"""Rules about what differs from one build to the next: the clock, chance, the host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.runs import Command, Run, about, runs
from rbuild.policy.shell import Redirection

_GENERATORS = {
    "uuidgen": "a random identifier",
    "dbus-uuidgen": "a random identifier",
    "systemd-machine-id-setup": "a random identifier",
    "pwgen": "a random password",
    "mcookie": "a random number",
    "ssh-keygen": "a key that is made anew in every build",
}
# What they say goes to the build's output, unless it is led elsewhere.
_SAID = frozenset(
    {"echo", "printf", ":", "true", "test", "[", "[[", "date", "hostname", "uname", "uuidgen", "nproc"}
    | {"sleep", "kill", "cat", "head"}
)
_FIXED = re.compile(r"-[uR]*[drsf]|--(?:date|reference|set|file|help|version)\b")
_LONG = ("--all", "--nodename", "--kernel-release", "--kernel-version")
_JOBS = ("-j", "--jobs", "--parallel", "-T")
_CHANCE = re.compile(r"\$\{?(?:RANDOM|SRANDOM|EPOCHSECONDS|EPOCHREALTIME|BASHPID)\b|\$\$")
_SOURCES = re.compile(r"/dev/u?random\b|/proc/sys/kernel/random/|/proc/uptime\b|/proc/stat\b")
_SUBSTITUTED = re.compile(r"[$<]\([^()]*\)|`[^`]*`")
_OPENSSL = ("rand", "genrsa", "genpkey", "req", "dhparam", "ecparam")


def _ambient(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        by_number = {command.number: command for command in run.commands}
        for command in run.commands:
            if (what := _source(command)) and _kept(command, run, by_number):
                yield about(facts, command, what)


def _source(command: Command) -> str:
    """What of the day, the host or chance a command brings in; empty: nothing."""
    name, arguments = command.name, command.arguments
    if name == "date":
        known = any(_FIXED.match(word) or "SOURCE_DATE_EPOCH" in word for word in arguments)
        return "" if known else "date says another time in every build"
    if name == "hostname" and (not arguments or command.has("-f", "-s", "-i", "-I")):
        return "hostname says the name that every build has, and no container that runs the image"
    if name == "uname" and command.has("-a", "-n", "-r", "-v", *_LONG):
        return "uname says what kernel the building host has"
    if name == "nproc":
        return "nproc says how many processors the building host has"
    if name == "openssl" and arguments[:1] and arguments[0] in _OPENSSL:
        return f"openssl {arguments[0]} makes another result in every build"
    if name == "ssh-keygen" and command.has("-l", "-y", "-F", "-R", "-H", "-e", "-i"):
        return ""
    if said := _GENERATORS.get(name):
        return f"{name} makes {said}"
    for word in (*arguments, *(value for _, value in command.assignments), *_files_read(command)):
        word = _SUBSTITUTED.sub("", word)  # whose commands are looked at themselves
        if match := _CHANCE.search(word) or _SOURCES.search(word):
            return f"{match[0]} is different in every build"
    return ""


def _files_read(command: Command) -> list[str]:
    return [one.target for one in command.redirections if one.sign in ("<", "<<<")]


def _kept(command: Command, run: Run, by_number: Mapping[int, Command]) -> bool:
    """Whether what a command says may get into the image, rather than into the build's output alone."""
    seen: set[int] = set()
    current: Command | None = command
    while current is not None and current.number not in seen:
        seen.add(current.number)
        if current is not command and (current.name == "make" or _says_how_fast(current)):
            return False
        if any(_keeps(one) for one in current.redirections):
            return True
        if current.feeds(run.fed):
            return True
        if current.assignments and not current.words:
            return True
        if current.inside is None:
            return current.name not in _SAID
        current = by_number.get(current.inside)
    return False


def _says_how_fast(command: Command) -> bool:
    """`ninja -j$(nproc)`, `cmake --build . --parallel $(nproc)`: how fast, and not what."""
    before = ""
    for word in command.arguments:
        if "nproc" in word and (word.startswith(_JOBS) or before.startswith(_JOBS)):
            return True
        before = word
    return False


def _keeps(one: Redirection) -> bool:
    return one.fd != "2" and one.sign.startswith((">", "&>")) and not _is_nothing(one.target)


def _is_nothing(target: str) -> bool:
    return target in ("/dev/null", "/dev/stdout", "/dev/stderr", "/proc/1/fd/1", "1", "2")


RULES = (
    Rule(
        id="RB112",
        name="clock-or-chance",
        title="A step writes the time, a random number or something of the building host into the image.",
        level=Level.WARNING,
        why="The clock is not part of the lock, nor is chance: two builds of one lock give two digests, and "
        "`rbuild verify` reports a difference.",
        example="RUN date > /etc/built",
        fix="date -u -d @$SOURCE_DATE_EPOCH; make keys and identifiers when the container starts",
        files=_ambient,
    ),
)
