"""Rules about sources: what is cloned, what of the context is copied, what a cache mount gives away."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from rbuild.containerfile.mounts import of_instruction
from rbuild.containerfile.words import BLANKS
from rbuild.errors import Where
from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.runs import Run, about, runs, with_values

_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\b")
_VCS_URL = re.compile(r"(?:[\w.-]+\s*@\s*)?git\+[a-z]+://", re.IGNORECASE)
_VALUED = ("-C", "-c", "-b", "--branch", "--depth")
_PIPS = ("pip", "pip3", "pipx", "uv", "python", "python3")
_GOES = frozenset({"checkout", "reset", "switch", "fetch", "merge-base"})
_WHOLE = frozenset({".", "./", "/", "*", "./*"})
_FOLDERS = {".hg": "Mercurial", ".svn": "Subversion", ".bzr": "Bazaar", "CVS": "CVS", "_darcs": "Darcs"}
_TAKERS = frozenset({"cp", "mv", "rsync", "install", "ln", "tar", "cpio", "dd", "unzip", "dpkg", "cat"})
# What a working copy has in it, and a folder that merely has the name has not.
_MARKS = ("store", "requires", "wc.db", "entries", "pristine", "branch", "Entries", "patches")
_TARGET_OPTIONS = ("-t", "--target-directory")


def _cloned(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    everything = runs(facts)
    last = max((at for at, run in enumerate(everything) if _goes_to_a_commit(run)), default=-1)
    for at, run in enumerate(everything):
        for command in run.commands:
            operands = [run.value(word) for word, _ in command.operands(_VALUED)]
            if command.name == "git" and operands[:1] == ["clone"]:
                if last < at and not any(_COMMIT.search(word) for word in command.arguments):
                    yield about(facts, command, f"git clone of {_address(operands)} takes whatever is there")
            elif command.name == "cargo" and command.has("--git") and not command.has("--rev"):
                yield about(
                    facts, command, "cargo takes whatever is in the repository", hint="add --rev COMMIT"
                )
            elif command.name in _PIPS:
                for word, line in zip(command.arguments, command.lines[1:], strict=True):
                    value = run.value(word)
                    place = value.partition("://")[2].partition("#")[0].partition("/")[2]
                    reference = place.rpartition("@")[2]
                    if _VCS_URL.match(value) and not _COMMIT.match(reference) and "$" not in reference:
                        message = f"{value[:200]} names no commit"
                        hint = "put it after the address: …@COMMIT"
                        yield about(facts, command, message, line=line, hint=hint)


def _address(operands: list[str]) -> str:
    return (operands[1] if len(operands) > 1 else "a repository")[:200]


def _goes_to_a_commit(run: Run) -> bool:
    """Whether a RUN goes to one commit: by its name, or by a variable whose value cannot be known here."""
    for command in run.commands:
        if command.name != "git":
            continue
        words = [run.value(word) for word in command.arguments]
        if not _GOES.isdisjoint(words) and any(_COMMIT.search(word) or word[:1] == "$" for word in words):
            return True
        if "rev-parse" in words and command.inside is not None:
            return True  # compared with something
    return False


def _whole_context(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    if facts.ignore_file is not None:
        return
    for instruction in facts.instructions:
        inner = instruction.trigger or instruction
        if inner.keyword not in ("COPY", "ADD") or any(flag.name == "from" for flag in inner.flags):
            continue
        words = inner.exec_form or tuple(BLANKS.split(inner.arguments))
        if any(word in _WHOLE for word in words[:-1]):
            yield Violation(
                message=f"{inner.keyword} {words[0]} copies the whole context, and no .containerignore says "
                "what is left out",
                where=facts.at(inner.line),
                text=inner.original[:300],
            )


def _histories(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    paths = set(facts.context)
    for path in facts.context:
        folder, _slash, name = path.rpartition("/")
        if name in _FOLDERS and any(f"{path}/{mark}" in paths for mark in _MARKS):
            yield _history(facts, path, f"the data of {_FOLDERS[name]}")
        elif name == "HEAD" and folder and {f"{folder}/objects", f"{folder}/refs"} <= paths:
            yield _history(facts, folder, "a bare git repository")
    for instruction in facts.instructions:
        inner = instruction.trigger or instruction
        if inner.keyword in ("COPY", "ADD") and not any(flag.name == "from" for flag in inner.flags):
            words = inner.exec_form or tuple(BLANKS.split(inner.arguments))
            for word in words[:-1]:
                if ".git" in posixpath.normpath(word).split("/"):
                    yield Violation(
                        message=f"{inner.keyword} {word[:200]}: .git is in no context, since it differs from "
                        "clone to clone",
                        where=facts.at(inner.line),
                        text=inner.original[:300],
                        hint="hand over what is needed of it: rbuild.yaml, args: {COMMIT: …}",
                    )


def _history(facts: FileFacts, path: str, what: str) -> Violation:
    file = posixpath.normpath(posixpath.join(str(facts.stage.context), path))
    return Violation(
        message=f"the context holds {path[:200]}: {what}", where=Where(file=file), text=path[:300]
    )


def _caches(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    folders: dict[int, str] = {}
    for run in runs(facts):
        if not any(flag.name == "mount" for flag in run.instruction.flags):
            continue
        folders = folders or _working_folders(facts)
        targets = []
        for mount in of_instruction(run.instruction):
            if mount.kind == "cache" and mount.target:
                targets.append(_absolute(run.value(mount.target), folders.get(run.instruction.line, "/")))
        if not targets:
            continue
        targets = targets[:50]
        for command in run.commands:
            if command.name not in _TAKERS:
                continue
            taken = [run.value(word) for word, _ in command.operands(_TARGET_OPTIONS)]
            into = command.has(*_TARGET_OPTIONS) or command.name in ("tar", "cat", "cpio", "dpkg", "unzip")
            for word in taken if into else taken[:-1]:
                place = _absolute(word, folders.get(run.instruction.line, "/"))
                cache = next((one for one in targets if place == one or place.startswith(f"{one}/")), None)
                goes = taken[-1] if taken else ""
                if cache and not _stays(_absolute(goes, "/"), targets, into):
                    yield about(
                        facts, command, f"{command.name} takes {word[:200]} out of the cache {cache[:200]}"
                    )
                    break


def _stays(goes: str, targets: list[str], into: bool) -> bool:
    return not into and any(goes == one or goes.startswith(f"{one}/") for one in targets)


def _absolute(path: str, folder: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))


def _working_folders(facts: FileFacts) -> dict[int, str]:
    """The working folder of each instruction, by its line; variables whose value is not known stay."""
    found: dict[int, str] = {}
    folder, target = "/", None
    for instruction, values in with_values(facts):
        if instruction.target != target:
            folder, target = "/", instruction.target
        if instruction.keyword == "WORKDIR":
            run = Run(instruction=instruction, commands=(), variables=values)
            folder = _absolute(run.value(instruction.arguments.strip("'\"")), folder)
        found[instruction.line] = folder
    return found


RULES = (
    Rule(
        id="RB113",
        name="source-without-commit",
        title="A step takes a repository's newest state: git clone, or git+https:// without a commit.",
        level=Level.WARNING,
        why="A branch moves, and a tag can be moved. The lock keeps what came; a rebuild that has lost it "
        "gets something else, and no reviewer sees which commit was built.",
        example="RUN git clone --branch v1.2 https://example.org/tool.git",
        fix="git checkout COMMIT after it, in the same RUN; for pip: git+https://…@COMMIT",
        files=_cloned,
    ),
    Rule(
        id="RB114",
        name="whole-context",
        title="The whole context is copied, and no .containerignore says what is left out.",
        level=Level.WARNING,
        why="A note, a virtual environment or a .env file beside the sources is copied as well, differs from "
        "checkout to checkout, and gives every one of them another image.",
        example="COPY . .",
        fix="write .containerignore (`*`, then `!src`), or COPY what is needed by name",
        files=_whole_context,
    ),
    Rule(
        id="RB115",
        name="history-in-context",
        title="Version control data is in the context, or an instruction asks for .git.",
        level=Level.WARNING,
        why="It differs between two clones of one commit: packing, logs, hooks. rbuild leaves .git out of "
        "every context, at any depth; bare repositories and other systems' folders it cannot tell from data.",
        example="COPY .git /src/.git",
        fix="list it in .containerignore; pass a commit's name as a build argument",
        files=_histories,
    ),
    Rule(
        id="RB119",
        name="cache-reaches-image",
        title="A step takes files out of a cache mount into the image.",
        level=Level.WARNING,
        why="What a cache holds depends on what was built before. rbuild starts every build with empty "
        "caches; another builder does not, and between two RUNs that share one the order matters.",
        example="RUN --mount=type=cache,target=/root/.cache cp -r /root/.cache/models /models",
        fix="fetch into a folder of the image, or copy what a RUN of its own made without the cache",
        files=_caches,
    ),
)
