"""Files that matter are written aside, synced, and renamed: a reader sees the old one or the new one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def says_no_space(text: str) -> bool:
    """Whether a program complains of a full disk: in the words of Go, or of the C library."""
    return "no space left on device" in text.lower()


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`: after a crash it holds the old bytes or the new ones. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_directory(path.parent)


@contextlib.contextmanager
def scratch_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """A private directory (mode 700) below `parent`, gone at the end."""
    path = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Scratch:
    """Folders side by side in one, each gone when its maker is done with it.

    A maker that is alive holds the lock of what it made; a killed one has let go. When nobody is at work,
    whoever comes next clears what killed ones left.
    """

    def __init__(self, root: Path, guard: Path, clear: Callable[[Path], None] | None = None) -> None:
        """`guard` is the file to lock while something is made; `clear` removes what rmtree cannot."""
        self._root = root
        self._guard = guard
        self._clear = clear

    @contextlib.contextmanager
    def folder(self, prefix: str) -> Iterator[Path]:
        """A private folder (mode 700). Raises OSError."""
        with contextlib.ExitStack() as stack:
            with locked(self._guard):
                self._sweep()
                path = Path(tempfile.mkdtemp(dir=self._root, prefix=prefix))
                stack.callback(self._remove, path)
                fcntl.flock(stack.enter_context((path / ".alive").open("wb")), fcntl.LOCK_EX)
            yield path

    def _remove(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        if self._clear is not None and path.exists():
            self._clear(path)

    def _sweep(self) -> None:
        dead = []
        for left in self._root.iterdir():
            if left == self._guard:
                continue
            try:
                with (left / ".alive" if left.is_dir() else left).open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody is at work, and may rely on what looks dead
            except OSError:
                pass  # gone since, or killed before it was marked as alive
            dead.append(left)
        for left in dead:
            with contextlib.suppress(FileNotFoundError):  # its maker, alive, was just removing it
                if not left.is_dir():
                    left.unlink()
                elif self._clear is not None:
                    self._clear(left)
                else:
                    shutil.rmtree(left, ignore_errors=True)


def runtime_folder(environment: Callable[[str], str | None], name: str) -> Path:
    """A folder with a short path: of this user alone, gone with the session or the boot.

    Raises OSError, also where another user has taken the name.
    """
    runtime = environment("XDG_RUNTIME_DIR")
    path = Path(runtime or tempfile.gettempdir()) / name
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o777 != 0o700:
        raise PermissionError(errno.EPERM, "is not a private folder of this user", str(path))
    return path


def runtime_scratch(environment: Callable[[str], str | None], clear: Callable[[Path], None]) -> Scratch:
    """Scratch folders below a `runtime_folder`. Raises OSError as that does."""
    root = runtime_folder(environment, f"rbuild-{os.getuid()}")
    return Scratch(root, root / "lock", clear)
