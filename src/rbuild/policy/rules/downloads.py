"""Rules about what a build fetches by itself, past package managers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from rbuild.containerfile.words import BLANKS
from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.runs import Command, Run, about, last_places, runs, with_values
from rbuild.policy.wrappers import SHELLS

_FETCHERS = frozenset({"curl", "wget", "aria2c", "http", "https"})
_INTERPRETERS = SHELLS | {"python", "python3", "perl", "ruby", "node", "php"}
_UNPACKERS = frozenset(
    {"tar", "bsdtar", "unzip", "gunzip", "zcat", "xz", "unxz", "zstd", "cpio", "dpkg", "rpm"}
)
_CHECKERS = re.compile(
    r"(?:(?:sha|b2|md5|cksum|b3)[0-9a-z]*sum|shasum|gpgv?2?|cosign|minisign|signify|openssl|cmp)\Z"
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"]+\Z", re.IGNORECASE)
_LOCAL = re.compile(
    r"(?:[a-z]+://)?(?:localhost|127\.[0-9.]+|0\.0\.0\.0|\[::1\])(?::[0-9]+)?(?:/|\Z)", re.IGNORECASE
)
_DIGITS = re.compile(r"#.*?\b(?:[0-9a-f]{40}|[0-9a-f]{64})\b")

_NOT_HTTP = frozenset(
    {"ssh", "git", "git+ssh", "git+git", "ftp", "ftps", "sftp", "scp", "rsync", "ws", "wss", "ldap", "tftp"}
)
_CLIENTS = {
    **dict.fromkeys(("ssh", "scp", "sftp", "ssh-keyscan", "autossh"), "ssh"),
    **dict.fromkeys(("ftp", "lftp", "ncftpget", "tftp"), "FTP"),
    **dict.fromkeys(("nc", "ncat", "netcat", "telnet", "socat"), "a bare connection"),
    **dict.fromkeys(("websocat", "wscat"), "websockets"),
    **dict.fromkeys(("ping", "dig", "nslookup", "ntpdate", "traceroute"), "packets that are no HTTP"),
    "docker": "Docker's daemon",
}
# `main` alone is also a component of Debian's archive: it means a branch only where sources are hosted.
_MOVING = re.compile(
    r"/(?:latest|nightly|refs/heads/[^/]+)(?:[/.?]|\Z)|[-_]latest[-_.]"
    r"|(?:\Araw\.[^/]+/[^/]+/[^/]+|/(?:raw|blob|archive|zipball|tarball|tree))/(?:main|master|head)(?:[/.?]|\Z)",
    re.IGNORECASE,
)


# What reads a URL that it is given; for others it may be a text like any other.
_READERS = frozenset(
    {"git", "pip", "pip3", "pipx", "uv", "python", "python3", "poetry", "npm", "npx", "yarn", "pnpm", "go"}
    | {"cargo", "curl", "wget", "aria2c", "svn", "hg", "bundle", "gem", "composer", "apt-get", "apt", "dnf"}
)
_GIT_READS = frozenset({"clone", "fetch", "pull", "ls-remote", "submodule", "archive", "push", "lfs"})


def fetched(run: Run, command: Command) -> tuple[str, ...]:
    """The URLs that a command of curl, wget and their like fetches; those of this host are left out."""
    if command.name not in _FETCHERS:
        return ()
    words = (run.value(word) for word in command.arguments)
    return tuple(word for word in words if _URL.match(word) and not _LOCAL.match(word))


def _unrecorded(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for instruction in facts.instructions:
        inner = instruction.trigger or instruction
        for flag in inner.flags:
            if inner.keyword == "RUN" and (flag.name, flag.value) == ("network", "host"):
                yield Violation(
                    message="RUN --network=host asks for the host's network; a build has the recorder alone",
                    where=facts.at(_flag_line(instruction.line, inner, flag.start)),
                    text=inner.original[:300],
                    hint="leave --network out",
                )
        if inner.keyword == "ADD":
            for word in _words(inner.exec_form, inner.arguments)[:-1]:
                if word.startswith(("git@", "git://", "ssh://")):
                    yield Violation(
                        message=f"ADD fetches {word[:200]} by a protocol that is not recorded",
                        where=facts.at(inner.line),
                        text=inner.original[:300],
                    )
    for run in runs(facts):
        for command in run.commands:
            if how := _way_out(run, command):
                yield about(facts, command, f"{command.name} uses {how}, which is not recorded")


def _flag_line(line: int, instruction: object, start: int) -> int:
    spans = getattr(instruction, "spans")(start, start + 1)  # noqa: B009
    return spans[0].line if spans else line


def _words(exec_form: tuple[str, ...] | None, arguments: str) -> list[str]:
    return list(exec_form) if exec_form else BLANKS.split(arguments)


def _way_out(run: Run, command: Command) -> str:
    """By what a command leaves that is no HTTP; empty if it does not."""
    name, arguments = command.name, command.arguments
    operands = [word for word, _ in command.operands()]
    if name == "docker":
        talks = ("pull", "push", "run", "build", "login", "compose", "buildx")
        return _CLIENTS[name] if operands[:1] and operands[0] in talks else ""
    if name in ("nc", "ncat", "netcat") and command.has("-l", "-h", "--listen", "--help", "--version"):
        return ""
    if name in _CLIENTS:
        asks = command.has("--version", "--help") or arguments in (("-V",), ("-v",), ("-h",))
        return "" if asks or not arguments else _CLIENTS[name]
    if name == "rsync":
        remote = any(re.match(r"rsync://|[^/:]+::?[^/:]", word) for word in operands)
        return "rsync's own protocol" if remote else ""
    if name in ("gpg", "gpg2", "apt-key") and any("recv-key" in word for word in arguments):
        return "a key server through gpg, which knows no proxy"
    if any("/dev/tcp/" in one.target or "/dev/udp/" in one.target for one in command.redirections):
        return "a bare connection"
    if name not in _READERS or (name == "git" and operands[:1] and operands[0] not in _GIT_READS):
        return ""
    for word in (run.value(one) for one in arguments):
        scheme, colon, _ = word.removeprefix("-e").partition("://")
        scheme = scheme.rpartition("=")[2].rpartition("@ ")[2].strip().lower()
        if colon and scheme in _NOT_HTTP:
            return f"{scheme}://"
        if name in ("git", "pip", "pip3", "npm", "go") and re.match(r"(?:git\+)?[\w.-]+@[\w.-]+:", word):
            return "ssh"
    return ""


def _piped(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        by_number = {command.number: command for command in run.commands}
        readers = [one for one in run.commands if one.name in _INTERPRETERS and _reads_stdin(one)]
        places = last_places(readers)
        for command in run.commands:
            if command.name not in _FETCHERS or not _is_download(run, command):
                continue
            if runner := _runner(command, places, by_number):
                said = f"what {command.name} fetches is run by {runner}, unread and unchecked"
                yield about(facts, command, said)


def _runner(command: Command, places: Mapping[int, int], by_number: Mapping[int, Command]) -> str:
    """What runs the output of a command: a shell at the end of its pipe, or one that has it in its words."""
    if command.feeds(places):
        return "what it is piped to"
    around = by_number.get(command.inside) if command.inside is not None else None
    if around is None:
        return ""
    direct = around.name in _INTERPRETERS and (around.has("-c") or "<(" in "".join(around.arguments))
    if direct or around.name in ("eval", "source", "."):
        return around.name
    return "what it is piped to" if around.feeds(places) else ""


def _reads_stdin(command: Command) -> bool:
    """A script in an argument, `-c`, or `-m`, leaves what is piped in to it as data."""
    if command.has("-c") or (command.name not in SHELLS and command.has("-m", "-e")):
        return False
    operands = command.operands(("-o", "-O"))
    return command.has("-s") or not operands or operands[0][0] in ("-", "/dev/stdin")


def _is_download(run: Run, command: Command) -> bool:
    return bool(fetched(run, command)) or (
        any("$" in word or "." in word for word in command.arguments)
        and not any(_LOCAL.match(word) for word in command.arguments)
        and not command.has("--version", "--help")
    )


def _unchecked(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    everything = runs(facts)
    checking = [
        at for at, run in enumerate(everything) if any(_CHECKERS.match(one.name) for one in run.commands)
    ]
    for at, run in enumerate(everything):
        if checking and checking[-1] > at:
            continue  # a later RUN may check it
        last_check = max((one.number for one in run.commands if _CHECKERS.match(one.name)), default=-1)
        unpacked = last_places(one for one in run.commands if one.name in _UNPACKERS)
        for command in run.commands:
            urls = fetched(run, command)
            if not urls or not _keeps(command, unpacked) or command.has("-I", "--head", "--spider"):
                continue
            if last_check < command.number:
                yield about(facts, command, f"nothing checks what {urls[0][:200]} gave")


def _keeps(command: Command, unpacked: Mapping[int, int]) -> bool:
    """Whether a download becomes a file, or is unpacked."""
    if command.feeds(unpacked):
        return True
    if command.inside is not None:
        return False
    written = [one for one in command.redirections if one.sign in (">", ">>", ">|", "&>") and one.fd != "2"]
    files = [one.target for one in written]
    if command.name == "wget":
        out = _option(command, "-O", "--output-document") or "file"
        return out not in ("-", "/dev/stdout", "/dev/null") and not command.has("--spider")
    out = _option(command, "-o", "--output") or ""
    saved = bool(out) or command.has("-O", "--remote-name", "--remote-name-all")
    return (saved and out not in ("-", "/dev/null")) or any(file != "/dev/null" for file in files)


def _option(command: Command, short: str, long: str) -> str | None:
    """The value of an option, in a word of its own or not."""
    for at, word in enumerate(command.arguments):
        following = command.arguments[at + 1] if at + 1 < len(command.arguments) else ""
        if word == long or (word.startswith("-") and not word.startswith("--") and word.endswith(short[1])):
            return following
        if word.startswith(f"{long}="):
            return word.removeprefix(f"{long}=")
        if word.startswith(short) and not word.startswith("--"):
            return word.removeprefix(short)
    return None


def _added(facts: FileFacts) -> Iterator[tuple[str, int, str, bool]]:
    """Every URL that an ADD fetches: as expanded, its line, the instruction, and whether a sum is given."""
    for written, known in with_values(facts):
        instruction = written.trigger or written
        if instruction.keyword != "ADD":
            continue
        checked = any(flag.name == "checksum" for flag in instruction.flags)
        run = Run(instruction=instruction, commands=(), variables=known)
        at = instruction.arguments_start
        for word in _words(instruction.exec_form, instruction.arguments)[:-1]:
            at = max(instruction.original.find(word, at), at)
            url = run.value(word)
            if url.startswith(("http://", "https://")):
                spans = instruction.spans(at, at + 1)
                yield url, spans[0].line if spans else instruction.line, instruction.original[:300], checked


def _add_unchecked(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for url, line, text, checked in _added(facts):
        address = urlsplit(url.partition("#")[0]) if "[" not in url else None
        if address is not None and address.path.endswith(".git"):
            if not _DIGITS.search(url):
                yield Violation(
                    message=f"ADD of {url[:200]} names no commit",
                    where=facts.at(line),
                    text=text,
                    hint="put the commit after the address: …/project.git#COMMIT",
                )
        elif not checked:
            yield Violation(message=f"nothing says what {url[:200]} must be", where=facts.at(line), text=text)


def _moving(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for url, line, text, checked in _added(facts):
        if _moves(url) and not checked:
            yield Violation(message=f"{url[:200]} is another file tomorrow", where=facts.at(line), text=text)
    for run in runs(facts):
        for command in run.commands:
            for url in fetched(run, command):
                if _moves(url):
                    yield about(facts, command, f"{url[:200]} is another file tomorrow")


def _moves(url: str) -> bool:
    return bool(_MOVING.search(url.partition("://")[2].partition("?")[0]))


RULES = (
    Rule(
        id="RB103",
        name="network-not-recorded",
        title="A step fetches by something that is not recorded: ssh, rsync, FTP, a bare connection.",
        level=Level.ERROR,
        why="A build reaches the recorder and nothing else, and that speaks HTTP and HTTPS: such a step "
        "fails. What cannot be recorded could not be replayed.",
        example="RUN git clone git@github.com:team/tool.git",
        fix="fetch by https://, or put the files into the context",
        files=_unrecorded,
    ),
    Rule(
        id="RB104",
        name="piped-download",
        title="What is downloaded is run at once, unread and unchecked.",
        level=Level.ERROR,
        why="Whoever owns the server, or what answers in its place on the day of recording, runs what it "
        "likes in the build. The recording repeats it faithfully.",
        example="RUN curl -fsSL https://example.org/install.sh | sh",
        fix="curl -fsSLo install.sh URL && echo 'SHA256  install.sh' | sha256sum -c && sh install.sh",
        files=_piped,
    ),
    Rule(
        id="RB105",
        name="add-not-checked",
        title="ADD fetches a URL, and nothing says what it must be.",
        level=Level.WARNING,
        why="The lock pins what came the first time. Whether that was the right file nobody checked, and "
        "`rbuild lock --upgrade` takes whatever is there then.",
        example="ADD https://example.org/tool.tar.gz /opt/",
        fix="ADD --checksum=sha256:HEX URL DESTINATION",
        files=_add_unchecked,
    ),
    Rule(
        id="RB106",
        name="download-not-checked",
        title="curl or wget fetches a file, and nothing checks it.",
        level=Level.WARNING,
        why="The lock pins what came the first time. Whether that was the right file nobody checked, and "
        "`rbuild lock --upgrade` takes whatever is there then.",
        example="RUN curl -fsSLo /usr/bin/tool https://example.org/tool && chmod +x /usr/bin/tool",
        fix="add: && echo 'SHA256  FILE' | sha256sum -c",
        files=_unchecked,
    ),
    Rule(
        id="RB120",
        name="moving-download",
        title="A download's address names no version: latest, main, nightly.",
        level=Level.WARNING,
        why="The lock keeps the bytes, but a rebuild on a host that has lost them finds another file behind "
        "the address, and `rbuild lock --upgrade` may bring another major version.",
        example="RUN curl -fsSLO https://github.com/team/tool/releases/latest/download/tool.tar.gz",
        fix="name the version, or the commit, in the address",
        files=_moving,
    ),
)
