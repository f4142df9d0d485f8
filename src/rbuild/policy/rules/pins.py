"""Rules about requirements without a version: of pip, npm and apt."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from msgspec import Meta

from rbuild.errors import Where
from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.runs import Command, Run, about, runs

_MAX_FILES = 100  # of requirements and constraints
_MAX_REQUIREMENT = 1000  # characters
_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)\Z", re.DOTALL
)
_EXACT = re.compile(r"\(?\s*={2,3}\s*[^*,;\s]+\s*\)?\s*(?:[;,].*)?\Z", re.DOTALL)
_FILE = re.compile(r"(?:\.{0,2}/|~|.*\.(?:whl|tar\.gz|zip|tgz)(?:\[.*\])?\Z|\.{1,2}(?:\[.*\])?\Z)")
_PIP_VALUED = (
    *(
        "-r",
        "--requirement",
        "-c",
        "--constraint",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
    ),
    *(
        "-t",
        "--target",
        "--prefix",
        "--root",
        "--trusted-host",
        "--cache-dir",
        "--progress-bar",
        "--platform",
    ),
    *(
        "--python-version",
        "--implementation",
        "--abi",
        "--no-binary",
        "--only-binary",
        "--timeout",
        "--retries",
    ),
    *(
        "--proxy",
        "--cert",
        "--client-cert",
        "--python",
        "-p",
        "--global-option",
        "--config-settings",
        "-C",
        "--src",
    ),
    *("-e", "--editable", "--upgrade-strategy", "--root-user-action", "--log", "--exists-action", "--report"),
)
_APT_VALUED = ("-o", "-t", "-c", "--option", "--target-release", "--config-file")


class PythonSettings(Settings, frozen=True, kw_only=True):
    pins: Annotated[
        Literal["range", "exact", "hashes"],
        Meta(
            description="range: a requirement names some bound, and the lock pins the rest; exact: it names "
            "one version; hashes: its files' hashes as well."
        ),
    ] = "range"
    allowed: Annotated[
        tuple[str, ...], Meta(description="Projects that need no version, such as pip and wheel.")
    ] = ()


def _python(facts: FileFacts, settings: PythonSettings) -> Iterable[Violation]:
    allowed = {_normal(name) for name in settings.allowed}
    seen: set[str] = set()  # files: each is looked at once
    for run in runs(facts):
        for command in run.commands:
            start = _pip_install(command)
            if start is not None:
                yield from _of_command(facts, settings, run, command, start, allowed, seen)


def _pip_install(command: Command) -> int | None:
    """Where the arguments of `pip install` begin; None for any other command."""
    words = command.words
    at = 0
    if re.match(r"python[0-9.]*\Z", command.name):
        if "-m" not in words[1:]:
            return None
        at = words.index("-m") + 1
        if words[at : at + 1] != ("pip",):
            return None
    elif command.name == "uv":
        if words[1:2] != ("pip",):
            return None
        at = 1
    elif not re.match(r"(?:pip[0-9.]*|pipx)\Z", command.name):
        return None
    rest = words[at + 1 :]
    skip = False
    for offset, word in enumerate(rest):
        if skip:
            skip = False
        elif word == "install":
            return at + 1 + offset + 1
        elif word.startswith("-"):
            skip = word in _PIP_VALUED
        else:
            return None
    return None


def _of_command(
    facts: FileFacts,
    settings: PythonSettings,
    run: Run,
    command: Command,
    start: int,
    allowed: set[str],
    seen: set[str],
) -> Iterator[Violation]:
    words = command.words[start:]
    if "--require-hashes" in words or "--no-index" in words:
        return
    files: list[tuple[str, int]] = []
    constraints: dict[str, None] = {}
    loose: list[tuple[str, int]] = []
    option = ""
    for word, line in zip(words, command.lines[start:], strict=True):
        if option:
            if option in ("-r", "--requirement"):
                files.append((run.value(word), line))
            elif option in ("-c", "--constraint"):
                constraints[run.value(word)] = None
            option = ""
        elif word.startswith(("--requirement=", "--constraint=")):
            said, _, value = word.partition("=")
            if said == "--constraint":
                constraints[run.value(value)] = None
            else:
                files.append((run.value(value), line))
        elif word.startswith("-r") and len(word) > 2:
            files.append((run.value(word[2:]), line))
        elif word.startswith("-"):
            option = word if word in _PIP_VALUED else ""
        else:
            loose.append((run.value(word), line))
    pinned = [_constrained(facts, path) for path in list(constraints)[:_MAX_FILES]]
    if None in pinned:
        return  # a constraints file that cannot be read may pin everything
    known = allowed.union(*(names for names in pinned if names))
    for requirement, line in loose:
        if (name := _unpinned(requirement, known, settings)) is not None:
            yield about(
                facts, command, f"pip takes any version of {name}", line=line, hint=f"{name}==VERSION"
            )
        elif settings.pins == "hashes" and _NAME.match(requirement) and not _FILE.match(requirement):
            hint = "put it into a file with --hash=sha256:… and install that with --require-hashes"
            yield about(
                facts, command, f"nothing says which file of {requirement[:80]}", line=line, hint=hint
            )
    for path, line in files:
        yield from _of_file(facts, settings, path, known, seen, (command, line))


def _unpinned(requirement: str, known: set[str], settings: PythonSettings) -> str | None:
    """The name of the project where a requirement leaves more open than the settings allow."""
    text = requirement.strip()
    if (
        not text
        or len(text) > _MAX_REQUIREMENT
        or "$" in text
        or "://" in text
        or " @ " in text
        or _FILE.match(text)
    ):
        return None
    match = _NAME.match(text)
    if match is None or _normal(match["name"]) in known or _EXACT.match(match["rest"]):
        return None
    bounded = settings.pins == "range" and match["rest"].lstrip("( ").startswith(("=", "<", ">", "~", "!"))
    return None if bounded else match["name"]


def _of_file(
    facts: FileFacts,
    settings: PythonSettings,
    path: str,
    known: set[str],
    seen: set[str],
    by: tuple[Command, int],
) -> Iterator[Violation]:
    """What is open in a file of requirements, if the context has it."""
    found = in_context(facts, path)
    if found is None or found in seen or len(seen) >= _MAX_FILES:
        return
    seen.add(found)
    data = facts.read(found)
    if data is None:
        return
    where = posixpath.normpath(posixpath.join(str(facts.stage.context), found))
    if any(
        line.split("#")[0].strip() == "--require-hashes"
        for line in data.decode("utf-8", "replace").splitlines()
    ):
        return
    for number, text in _requirement_lines(data):
        if text.startswith(("-r", "--requirement", "-c", "--constraint")):
            inner = re.sub(r"\A(?:-r|--requirement|-c|--constraint)[ =]*", "", text)
            if text.startswith(("-r", "--r")):
                beside = posixpath.join(posixpath.dirname(found), inner)
                yield from _of_file(facts, settings, beside, known, seen, by)
            continue
        if text.startswith("-") or "--hash=" in text:
            continue
        if (name := _unpinned(text.split(" #")[0], known, settings)) is not None:
            message, hint = f"pip takes any version of {name}", f"{name}==VERSION"
        elif settings.pins == "hashes" and not _FILE.match(text) and "://" not in text:
            message, hint = (
                f"nothing says which file of {text[:80]}",
                "pip-compile --generate-hashes writes them",
            )
        else:
            continue
        yield Violation(message=message, where=Where(file=where, line=number), text=text[:300], hint=hint)


def _requirement_lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The logical lines of a file of requirements, comments removed, with their numbers."""
    start = 0
    parts: list[str] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        start = start if parts else number
        text = "" if line.lstrip().startswith("#") else line
        if text.endswith("\\"):
            parts.append(text[:-1])
            continue
        whole = "".join([*parts, text]).strip()
        parts = []
        if whole:
            yield start, whole


def _constrained(facts: FileFacts, path: str) -> set[str] | None:
    """The names that a file of constraints pins; None where it cannot be read."""
    found = in_context(facts, path)
    if found is None:
        return None
    known = facts.memo.get(f"constraints {found}")
    if isinstance(known, set):
        return known
    if (data := facts.read(found)) is None:
        return None
    matches = (_NAME.match(text[:_MAX_REQUIREMENT]) for _, text in _requirement_lines(data))
    names = {_normal(one["name"]) for one in matches if one and _EXACT.match(one["rest"])}
    facts.memo[f"constraints {found}"] = names
    return names


def in_context(facts: FileFacts, path: str) -> str | None:
    """The file of the context that a path in a RUN means: of the same path or, if there is just one, name."""
    path = posixpath.normpath(path).lstrip("/")
    by_name: dict[str, list[str]] = {}
    known = facts.memo.setdefault("names", by_name)
    if known is by_name:
        for one in facts.context:
            by_name.setdefault(posixpath.basename(one), []).append(one)
    assert isinstance(known, dict)
    named: list[str] = known.get(posixpath.basename(path), [])[:1000]
    if path in named:
        return path
    same = [one for one in named if path.endswith(f"/{one}") or one.endswith(f"/{path}")] or named
    return same[0] if len(same) == 1 else None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _npm(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    locks = (
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lockb",
        "bun.lock",
    )
    has_lock = any(posixpath.basename(path) in locks for path in facts.context)
    for run in runs(facts):
        for command in run.commands:
            operands = [
                (run.value(word), line)
                for word, line in command.operands(("--prefix", "-C", "--cwd", "--registry"))
            ]
            verb = operands[0][0] if operands else ""
            if command.name == "npm" and verb in ("install", "i", "add"):
                yield from _npm_packages(facts, command, operands[1:])
                if len(operands) == 1 and not command.has("-g", "--global"):
                    hint = (
                        "npm ci"
                        if has_lock
                        else "npm install --package-lock-only, commit the lock, then npm ci"
                    )
                    yield about(
                        facts, command, "npm install takes newer versions than any lock says", hint=hint
                    )
            elif command.name == "yarn" and verb in ("", "install"):
                frozen = command.has("--frozen-lockfile", "--immutable", "--version", "-v")
                said = "yarn install may change its lock"
                if not frozen:
                    yield about(facts, command, said, hint="yarn install --immutable")
            elif command.name == "yarn" and operands[:2] and verb == "global":
                yield from _npm_packages(facts, command, operands[2:])
            elif command.name == "pnpm" and _changes_lock(command, len(operands), verb):
                said = "pnpm install may change its lock"
                yield about(facts, command, said, hint="add --frozen-lockfile")


def _changes_lock(command: Command, operands: int, verb: str) -> bool:
    return verb in ("install", "i") and operands == 1 and not command.has("--frozen-lockfile")


def _npm_packages(facts: FileFacts, command: Command, operands: list[tuple[str, int]]) -> Iterator[Violation]:
    for word, line in operands:
        name, _, version = word.rpartition("@") if "@" in word[1:] else (word, "", "")
        local = (
            word.startswith((".", "/", "~", "file:")) or word.endswith(".tgz") or "://" in word or "$" in word
        )
        if not local and not re.match(r"v?[0-9]+\.[0-9]+\.[0-9]+", version):
            said = (
                f"npm takes any version of {name[:100]}"
                if not version
                else f"{word[:100]} is no exact version"
            )
            yield about(facts, command, said, line=line, hint=f"{name[:100]}@VERSION")


def _debian(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        for command in run.commands:
            operands = command.operands(_APT_VALUED)
            if (
                command.name not in ("apt-get", "apt", "aptitude")
                or not operands
                or operands[0][0] != "install"
            ):
                continue
            for word, line in operands[1:]:
                value = run.value(word)
                if (
                    "=" not in value
                    and "$" not in value
                    and not value.startswith(("/", "./"))
                    and "*" not in value
                ):
                    hint = f"{value[:100]}=VERSION; or list it under bases, where the lock pins it"
                    yield about(
                        facts, command, f"apt takes any version of {value[:100]}", line=line, hint=hint
                    )


RULES = (
    Rule(
        id="RB109",
        name="python-not-pinned",
        title="A Python requirement names no version, or leaves open more than is allowed.",
        level=Level.WARNING,
        why="The lock pins what was installed, and `rbuild lock --upgrade` takes whatever is newest, tested "
        "or not. A version in the file is one that somebody chose.",
        example="RUN pip install -U numpy pandas",
        fix="say which versions will do: numpy>=2.3,<3; or pin what pip-compile or uv wrote",
        settings=PythonSettings,
        files=_python,
    ),
    Rule(
        id="RB110",
        name="npm-without-lock",
        title="npm, yarn or pnpm installs something else than its lock says.",
        level=Level.WARNING,
        why="Ranges in package.json are open: each run may take newer versions of anything below.",
        example="RUN npm install",
        fix="npm ci, with package-lock.json in the context",
        files=_npm,
    ),
    Rule(
        id="RB111",
        name="debian-not-pinned",
        title="apt-get installs a package without a version.",
        level=Level.OFF,
        why="rbuild.lock pins the package's file all the same; a version in the Containerfile has to be "
        "edited at every security update. So the rule is off unless a policy asks for it.",
        example="RUN apt-get install -y curl",
        fix="curl=VERSION; or list it under bases, where the lock pins it",
        files=_debian,
    ),
)
