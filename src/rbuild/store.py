"""The store: content-addressed blobs in one folder, which is an OCI image layout as well.

    blobs/sha256/…   recorded responses and the parts of images, named by what they hold
    index.json       the images (OCI image-layout specification)
    cache/KIND/…     what can be computed again
    origins/…        where fetched images came from (origins.py)
    verifications/…  what was verified (verifications.py)
    logs/PROJECT/…   the full output of each build
    tmp/…            what is being written

A blob is written aside and renamed, so a name never stands for half of its bytes. Readers check the digest:
a disk, or a person, may have changed a file since.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.files import Scratch, locked, says_no_space, write_atomically

CHUNK = 1 << 20
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EMPTY_INDEX = b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
_CHECKSUM = hashlib.sha256().digest_size
_REF_NAME = "org.opencontainers.image.ref.name"


class CorruptBlob(RbuildError):
    """A blob's bytes are not those of its name."""

    def __init__(self, digest: Digest, path: Path) -> None:
        super().__init__(
            f"{path} does not hold the bytes of its digest any more",
            where=Where(digest=str(digest)),
            hint=f"rm {path}, then run the command again: what can be fetched is fetched anew",
        )
        self.digest = digest


class MissingBlob(RbuildError):
    """The store has no blob of that digest."""

    def __init__(self, digest: Digest) -> None:
        super().__init__("not in the store", where=Where(digest=str(digest)))
        self.digest = digest


@dataclass(frozen=True, slots=True)
class Blob:
    digest: Digest
    size: int


class BlobWriter:
    """Bytes on their way into the store. Nothing is there until `commit`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.space(), store.locked():
            descriptor, name = tempfile.mkstemp(dir=store.tmp, prefix="blob-")
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # alive: see Scratch
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "w+b", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        if self._store.closed:
            raise RbuildError("interrupted")
        with self._store.space():
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def open(self) -> int:
        """A descriptor that reads what was written so far; the caller closes it."""
        return os.open(self._path, os.O_RDONLY)

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest(self._hash.hexdigest())

    def commit(self, expected: Digest | None = None) -> Blob:
        """Give the blob its name. Raises CorruptBlob if `expected` is another."""
        blob = Blob(self.digest, self.size)
        if expected is not None and blob.digest != expected:
            self.abandon()
            raise CorruptBlob(expected, self._path)
        with self._store.space():
            os.fchmod(self._file.fileno(), 0o444)
            os.fsync(self._file.fileno())
        self._file.close()
        self._path.replace(self._store.blobs / blob.digest.hex)
        return blob

    def abandon(self) -> None:
        """Forget what was written. Does nothing after `commit`."""
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.abandon()


class Store:
    """One content-addressed folder, shared by all projects of a user."""

    def __init__(self, root: Path, *, clear: Callable[[Path], None] | None = None) -> None:
        """Open the store at `root`, and make it if it is not there. Raises RbuildError if it cannot be.

        `clear` removes the scratch folder of a build that was killed, and what else that build left.
        """
        if ":" in str(root):
            raise RbuildError(
                "a store's path cannot have a ':', which separates paths for Podman",
                where=Where(file=str(root)),
                hint="set RBUILD_STORE to another folder",
            )
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.tmp = root / "tmp"
        self._closed = False
        self._scratch = Scratch(self.tmp, root / "lock", clear)
        if not (root / "index.json").exists():
            self._make()

    def _make(self) -> None:
        try:
            for folder in (self.blobs, self.tmp, self.root / "cache", self.root / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            with self.locked():
                if not (self.root / "index.json").exists():
                    write_atomically(self.root / "oci-layout", _LAYOUT)
                    write_atomically(self.root / "index.json", _EMPTY_INDEX)
        except OSError as error:
            raise RbuildError(
                f"cannot make the store: {error.strerror}",
                where=Where(file=str(self.root)),
                hint="set RBUILD_STORE to a folder that you may write to",
            ) from error

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Let no more blobs be written: whoever is at it gets an RbuildError."""
        self._closed = True

    @contextlib.contextmanager
    def space(self) -> Iterator[None]:
        """Turn "no space left", also of a program that writes here, into an error that names the store."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise self.full() from error
        except RbuildError as error:
            if not self.is_full(str(error)):
                raise
            raise self.full() from error

    def is_full(self, said: str) -> bool:
        """Whether a program complains that there is no space left in the store."""
        return any(says_no_space(line) and str(self.root) in line for line in said.splitlines())

    def full(self) -> RbuildError:
        """The error for a full disk under the store."""
        return RbuildError(
            "no space left in the store",
            where=Where(file=str(self.root)),
            hint="free some, or set RBUILD_STORE to a folder on a larger file system",
        )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's one lock; short, for what is read, changed and written back."""
        with locked(self.root / "lock"):
            yield

    # Blobs

    def path(self, digest: Digest) -> Path:
        return self.blobs / digest.hex

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether a blob of that name (and size) is there. Its bytes are not read."""
        found = self.size(digest)
        return found is not None and size in (None, found)

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has; None where there is none of that name."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def writer(self) -> BlobWriter:
        return BlobWriter(self)

    def put(self, data: bytes) -> Blob:
        """Store a small blob."""
        digest = Digest.of(data)
        if self.has(digest, len(data)):
            return Blob(digest, len(data))
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def adopt(self, path: Path, digest: Digest) -> Blob:
        """Take over the file at `path`, on any file system, as the blob `digest`. Raises CorruptBlob."""
        with path.open("rb") as source, self.writer() as writer:
            while chunk := source.read(CHUNK):
                writer.write(chunk)
            return writer.commit(digest)

    def read(self, digest: Digest, *, limit: int = 64 << 20) -> bytes:
        """The bytes of a blob, checked. MissingBlob, CorruptBlob, or RbuildError over `limit`."""
        path = self.path(digest)
        try:
            if path.stat().st_size > limit:
                raise RbuildError(f"a blob of more than {limit} bytes", where=Where(digest=str(digest)))
            data = path.read_bytes()
        except FileNotFoundError:
            raise MissingBlob(digest) from None
        if Digest.of(data) != digest:
            raise CorruptBlob(digest, path)
        return data

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob whose bytes were checked just now. Raises MissingBlob, CorruptBlob."""
        try:
            file = self.path(digest).open("rb")
        except FileNotFoundError:
            raise MissingBlob(digest) from None
        if hashlib.file_digest(file, "sha256").hexdigest() != digest.hex:
            file.close()
            raise CorruptBlob(digest, self.path(digest))
        file.seek(0)
        return file

    def discard_corrupt(self, digest: Digest) -> bool:
        """Remove a blob whose bytes are not those of its name; whether there was one."""
        try:
            self.open(digest).close()
        except MissingBlob:
            return False
        except CorruptBlob:
            self.discard(digest)
            return True
        return False

    def discard(self, digest: Digest) -> None:
        """Remove a blob, if it is there."""
        (self.blobs / digest.hex).unlink(missing_ok=True)

    # Images

    def images(self) -> dict[str, Digest]:
        """The images by name (`iris/train`), each with the digest of its manifest."""
        named: dict[str, Digest] = {}
        for descriptor in self._index()["manifests"]:
            name = descriptor.get("annotations", {}).get(_REF_NAME)
            if name:
                named[name] = Digest.parse(descriptor["digest"])
        return named

    def name_image(self, name: str, manifest: Blob, media_type: str) -> None:
        """Let `name` stand for the image of that manifest, which must be in the store with all its blobs."""
        with self.locked(), self.space():
            index = self._index()
            descriptor = {
                "annotations": {_REF_NAME: name},
                "digest": str(manifest.digest),
                "mediaType": media_type,
                "size": manifest.size,
            }
            others = [
                known for known in index["manifests"] if known.get("annotations", {}).get(_REF_NAME) != name
            ]
            index["manifests"] = sorted(
                [*others, descriptor], key=lambda known: str(known.get("annotations", {}).get(_REF_NAME))
            )
            data = json.dumps(index, sort_keys=True, separators=(",", ":")).encode()
            write_atomically(self.root / "index.json", data)

    def _index(self) -> dict[str, Any]:
        path = self.root / "index.json"
        try:
            index: dict[str, Any] = json.loads(path.read_bytes())
            if isinstance(index["manifests"], list):
                return index
        except (ValueError, KeyError, TypeError):
            pass
        raise RbuildError(
            "is not the index of an OCI image layout any more",
            where=Where(file=str(path)),
            hint=f"rm {path}: the next build names its images anew",
        )

    # What can be computed again

    def cached(self, kind: str, key: str) -> bytes | None:
        """What `cache` kept under that name, if it is still what it was."""
        try:
            data = (self.root / "cache" / kind / key).read_bytes()
        except FileNotFoundError:
            return None
        checksum, kept = data[:_CHECKSUM], data[_CHECKSUM:]
        return kept if hashlib.sha256(kept).digest() == checksum else None

    def cache(self, kind: str, key: str, data: bytes) -> None:
        """Keep `data`, which can be computed again, under `key` (a file name)."""
        folder = self.root / "cache" / kind
        with self.space():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / key, hashlib.sha256(data).digest() + data)

    def log_path(self, project: str, stage: str) -> Path:
        """Where the output of a stage's build goes; its folder is there."""
        folder = self.root / "logs" / project
        with self.space():
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{stage}.log"

    def notes(self, kind: str) -> Path:
        """The folder of small files of one kind that are no blobs and cannot be computed again."""
        folder = self.root / kind
        with self.space():
            folder.mkdir(exist_ok=True)
        return folder

    @contextlib.contextmanager
    def scratch(self, prefix: str) -> Iterator[Path]:
        """A private folder on the store's file system, gone at the end.

        What killed processes left behind is cleared first.
        """
        with contextlib.ExitStack() as stack:
            with self.space():
                path = stack.enter_context(self._scratch.folder(prefix))
            yield path


def store_root(environment: Callable[[str], str | None]) -> Path:
    """Where a user's store is: `$RBUILD_STORE`, else `$XDG_DATA_HOME/rbuild`."""
    if chosen := environment("RBUILD_STORE"):
        return Path(chosen).absolute()
    data = environment("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "rbuild"
