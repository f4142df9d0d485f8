"""`rbuild.lock` as values: all that went into the images of a project, and all that came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.form import NEWEST
from rbuild.plain import plain
from rbuild.recording import Recording, Size, Url

if TYPE_CHECKING:
    from rbuild.yamlfile import Document

LOCK_VERSION: Final = 1

_HEADER = "# Written by rbuild. Commit it; do not edit it: `rbuild lock` writes it anew."
_REMEDY = "take back the committed one with `git checkout rbuild.lock`, or write it anew with `rbuild lock`"

# Seconds since 1970, as far as the header of a tar entry can say them.
Epoch = Annotated[int, Meta(ge=0, le=0o77777777777)]
Form = Annotated[int, Meta(ge=1)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class LayerLock(_Entry, frozen=True, kw_only=True):
    """One layer: `diff_id` is of the tar, `blob` of what the registry holds; `size` is the blob's."""

    diff_id: Digest
    blob: Digest
    size: Size


class ImageLock(_Entry, frozen=True, kw_only=True):
    """The digests of an image: manifest, config, and layers from the lowest to the highest."""

    manifest: Digest
    config: Digest
    layers: tuple[LayerLock, ...]


class DebianPackage(_Entry, frozen=True, kw_only=True):
    """One `.deb`. `path` is relative to `archive`, or to the mirror of the base where that is None."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]*$", extra={"expected": "a package name"})]
    version: Annotated[
        str, Meta(pattern=r"^[0-9][A-Za-z0-9.+:~-]*$", extra={"expected": "a package version"})
    ]
    architecture: Annotated[str, Meta(pattern=r"^[a-z0-9-]+$", extra={"expected": "an architecture"})]
    path: Annotated[
        str,
        Meta(
            pattern=r"^(?!/)(?!(?:.*/)?\.\.(?:/|$))[!-~]+$",
            extra={"expected": "a path below the archive's URL"},
        ),
    ]
    sha256: Digest
    size: Size
    archive: Url | None = None


class DebianLock(_Entry, frozen=True, kw_only=True):
    """A root file system made of exactly these packages, which is what `wanted` came to.

    `epoch` is in seconds since 1970.
    """

    suite: str
    mirror: Url
    snapshot: str | None = None
    components: tuple[str, ...] = ("main",)
    wanted: tuple[str, ...] = ()
    form: Form = 1
    codec: str = "zstd:3:1.5.7"
    epoch: Epoch
    packages: tuple[DebianPackage, ...]


class BaseLock(_Entry, frozen=True, kw_only=True):
    """What a `FROM` means: the digest of its manifest, and one of the three places that it comes from."""

    digest: Digest
    image: str | None = None
    oci: str | None = None
    tag: str | None = None
    debian: DebianLock | None = None


class StageLock(_Entry, frozen=True, kw_only=True):
    """A stage: its input digest, what that is made of, and the image that came out.

    `form` is the version of the canonical form, `epoch` the stage's SOURCE_DATE_EPOCH in seconds, `bases`
    the keys in `Lock.bases` of every base that the build reads.
    """

    input: Digest
    form: Form
    codec: str
    epoch: Epoch
    normalisers: tuple[str, ...] = ()
    args: dict[str, str] = {}
    target: str | None = None
    bases: tuple[str, ...] = ()
    context: Digest
    containerfile: Digest
    recording: Recording = Recording()
    image: ImageLock


class Lock(_Entry, frozen=True, kw_only=True):
    """The whole of `rbuild.lock`."""

    version: Annotated[int, Meta(ge=1)]
    project: str
    platform: str
    bases: dict[str, BaseLock] = {}
    stages: dict[str, StageLock] = {}


def read_lock(data: bytes, *, name: str = "rbuild.lock") -> Lock:
    """The lock that `data`, the bytes of the file `name`, says. Raises RbuildError with every problem."""
    from rbuild.yamlfile import MIB, Document, Scalar
    from rbuild.yamltyped import read

    document = Document(data, file=name, max_size=64 * MIB, max_nodes=1_000_000, hint=_REMEDY)
    version = document.node("version")
    if isinstance(version, Scalar) and version.text.isdecimal() and version.text != str(LOCK_VERSION):
        raise RbuildError(
            f"is of version {version.text[:20]}; this rbuild reads version {LOCK_VERSION}",
            where=document.where("version"),
            hint="use the rbuild that wrote it, or `rbuild lock --upgrade` to lock anew",
        )
    lock = read(document, Lock)
    if lock:
        _check(lock, document)
    document.finish()
    assert lock is not None  # else there was a problem
    return lock


def _check(lock: Lock, document: Document) -> None:
    for key, base in lock.bases.items():
        if (base.image, base.oci, base.debian).count(None) != 2:
            document.problem("needs exactly one of image, oci and debian", "bases", key)
        if base.debian and base.debian.form > NEWEST:
            document.problem(_unknown(base.debian.form), "bases", key, "debian", "form")
    known = document.keys("bases")
    for stage, locked in lock.stages.items():
        if locked.form > NEWEST:
            document.problem(_unknown(locked.form), "stages", stage, "form")
        for at, base_key in enumerate(locked.bases):
            if base_key not in known:
                document.problem(f"{base_key!r} is not in bases", "stages", stage, "bases", at)


def _unknown(form: int) -> str:
    return f"version {form} of the canonical form needs a newer rbuild; this one knows 1 to {NEWEST}"


def write_lock(lock: Lock) -> bytes:
    """The bytes of `rbuild.lock`: sorted keys, one value a line, UTF-8, with a newline at the end.

    Raises RbuildError when `lock` holds something that `read_lock` would not give back.
    """
    from rbuild.yamltext import yaml_lines  # brings the parser along

    data = "\n".join([_HEADER, *yaml_lines(plain(lock)), ""]).encode()
    if read_lock(data) != lock:
        raise RbuildError("the lock cannot be written so that it reads the same again")
    return data


def encode(lock: Lock) -> bytes:
    """A form of `lock` that is fast to read, for a cache; not for people, and not for another version."""
    return msgspec.msgpack.encode(lock)


def decode(data: bytes) -> Lock:
    """What `encode` wrote. Raises RbuildError for anything else."""
    try:
        return msgspec.msgpack.decode(data, type=Lock)
    except (msgspec.DecodeError, ValueError) as error:
        raise RbuildError(f"not an encoded lock: {error}") from error
