"""The context of a build: what COPY and ADD may read, as a git checkout would give it to everyone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.ignore import IgnoreRules
from rbuild.store import CHUNK

IGNORE_FILES = (".containerignore", ".dockerignore")


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class ContextFile:
    """One entry. Of a mode, only `executable` counts: the rest is the umask of whoever made the checkout.

    `content` is the sha256 of a file's bytes, a link's target, and empty for a directory.
    """

    path: str  # relative, with `/`; bytes that are not UTF-8 as surrogates (os.fsdecode)
    kind: Kind
    executable: bool
    content: str


@dataclass(frozen=True, slots=True)
class Context:
    """All that a build may copy, in byte order of the paths."""

    root: Path
    files: tuple[ContextFile, ...]

    @property
    def digest(self) -> Digest:
        """One sha256 over kinds, executable bits, contents and paths."""
        total = hashlib.sha256()
        for line in self.lines():
            total.update(line)
        return Digest(total.hexdigest())

    def lines(self) -> Iterator[bytes]:
        """The listing that the digest is of: what an entry is, NUL, its path, NUL."""
        for file in self.files:
            mode = "x" if file.executable else "-"
            yield os.fsencode(f"{file.kind.value} {mode} {file.content}\0{file.path}\0")

    def size(self, file: ContextFile) -> int:
        """How many bytes a file has. Raises RbuildError if it is gone."""
        path = self.root / file.path
        try:
            return path.stat().st_size
        except FileNotFoundError:
            raise _changed(path) from None

    def content(self, file: ContextFile) -> Iterator[bytes]:
        """A file's bytes in pieces. Raises RbuildError if it is no longer what it was when it was listed."""
        total = hashlib.sha256()
        path = self.root / file.path
        with contextlib.suppress(FileNotFoundError), path.open("rb") as reader:
            while chunk := reader.read(CHUNK):
                total.update(chunk)
                yield chunk
        if total.hexdigest() != file.content:
            raise _changed(path)


def listed(listing: bytes) -> dict[str, str]:
    """The entries by path, of a listing as `Context.lines` gives it: to tell what changed since."""
    parts = os.fsdecode(listing).split("\0")[:-1]
    return dict(zip(parts[1::2], parts[::2], strict=True))


def ignore_rules(root: Path, containerfile: Path) -> IgnoreRules:
    """The rules that Buildah would apply: those named after the Containerfile, else those in the context."""
    found = ignore_file(root, containerfile)
    return IgnoreRules.parse(found[1], found[0]) if found else IgnoreRules.parse(b"")


def ignore_file(root: Path, containerfile: Path) -> tuple[str, bytes] | None:
    """The file with these rules, its name and its bytes, if there is one."""
    beside = [containerfile.with_name(containerfile.name + suffix) for suffix in IGNORE_FILES]
    for path in (*beside, *(root / name for name in IGNORE_FILES)):
        try:
            return path.name, path.read_bytes()
        except FileNotFoundError:
            continue
    return None


def scan(root: Path, rules: IgnoreRules, *, name: str, excluded: Collection[Path] = ()) -> Context:
    """List and hash the context below `root`, but for what `rules` ignore and the paths in `excluded`.

    `.git` is never part of it: it differs between a clone and a worktree of the same commit.
    `name` is what messages call the context. Raises RbuildError, which names every entry that cannot be
    copied the same way everywhere: a link that leaves the context, a socket, a FIFO, a device.
    """
    problems: list[Problem] = []
    left_out = {os.fspath(path) for path in excluded}
    files = sorted(
        _walk(os.fspath(root), "", rules, left_out, name, problems), key=lambda file: os.fsencode(file.path)
    )
    if problems:
        raise RbuildError(problems)
    return Context(root, tuple(files))


def _walk(
    root: str, prefix: str, rules: IgnoreRules, excluded: set[str], name: str, problems: list[Problem]
) -> Iterator[ContextFile]:
    try:
        entries = os.scandir(os.path.join(root, prefix))
    except OSError as error:
        problems.extend(_unreadable(error, _where(name, prefix)).problems)
        return
    with entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.name == ".git" or entry.path in excluded:
                continue
            ignored = rules.matches(path)
            if entry.is_dir(follow_symlinks=False):
                if not ignored:
                    yield ContextFile(path, Kind.DIRECTORY, True, "")
                if not rules.prunes(path):
                    yield from _walk(root, path + "/", rules, excluded, name, problems)
            elif not ignored:
                try:
                    yield _entry(entry, path, _where(name, path))
                except RbuildError as error:
                    problems.extend(error.problems)


def _where(name: str, path: str) -> Where:
    return Where(file=os.fsencode(os.path.normpath(os.path.join(name, path))).decode(errors="replace"))


def _unreadable(error: OSError, where: Where) -> RbuildError:
    return RbuildError(
        f"cannot be read: {error.strerror}",
        where=where,
        hint=f"make it readable (chmod u+rX), or list it in {IGNORE_FILES[0]}",
    )


def _entry(entry: os.DirEntry[str], path: str, where: Where) -> ContextFile:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(entry.path)
        lexical = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if target.startswith("/") or lexical == ".." or lexical.startswith("../"):
            raise RbuildError(
                f"a symbolic link that points outside the context, to {target!r}",
                where=where,
                hint=f"copy what it points to into the context, or list it in {IGNORE_FILES[0]}",
            )
        return ContextFile(path, Kind.SYMLINK, False, target)
    if not stat.S_ISREG(status.st_mode):
        raise RbuildError(
            "neither a file, a folder nor a link, so it cannot be copied",
            where=where,
            hint=f"remove it, or list it in {IGNORE_FILES[0]}",
        )
    try:
        with open(entry.path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(error, where) from error
    return ContextFile(path, Kind.FILE, bool(status.st_mode & 0o100), content)


def copy_to(
    context: Context, target: Path, *, epoch: int, copied: Callable[[int], None] | None = None
) -> None:
    """Write the context into the new folder `target`: modes 755 and 644, every mtime the epoch.

    Raises RbuildError if a file is no longer what it was when it was listed.
    """
    target.mkdir()
    for file in context.files:
        source, place = context.root / file.path, target / file.path
        if file.kind is Kind.DIRECTORY:
            place.mkdir(exist_ok=True, parents=True)
            continue
        place.parent.mkdir(exist_ok=True, parents=True)
        if file.kind is Kind.SYMLINK:
            place.symlink_to(file.content)
            os.utime(place, (epoch, epoch), follow_symlinks=False)
            continue
        if _copy_file(source, place, 0o755 if file.executable else 0o644) != file.content:
            raise _changed(source)
        os.utime(place, (epoch, epoch))
    # Of folders that are ignored, and hold something that is not, as well.
    for folder, _, _ in os.walk(target, topdown=False):
        os.chmod(folder, 0o755)
        os.utime(folder, (epoch, epoch))


def _changed(path: Path) -> RbuildError:
    return RbuildError(
        "changed while it was being read",
        where=Where(file=str(path)),
        hint="run the command again when nothing writes to the context any more",
    )


def _copy_file(source: Path, place: Path, mode: int) -> str:
    total = hashlib.sha256()
    try:
        with source.open("rb") as reader, place.open("xb") as writer:
            while chunk := reader.read(CHUNK):
                total.update(chunk)
                writer.write(chunk)
            os.fchmod(writer.fileno(), mode)
    except FileNotFoundError:
        return ""
    return total.hexdigest()
