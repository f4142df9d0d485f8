"""A trust policy on disk: the project's, or the user's own; and the form of it that Podman and skopeo get."""

from __future__ import annotations

import base64
import copy
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.image.canonicaljson import canonical_json
from rbuild.reference import Reference
from rbuild.store import Store
from rbuild.trust.attachments import Attachments, read_attachments
from rbuild.trust.policy import MAX_SIZE, POLICY_FILE, Key, Policy, read_policy

REGISTRIES: Final = "registries.d"
_MAX_FILES = 1_000
_MAX_KEY = 64 << 10
_SYSTEM = Path("/etc/containers")
_ANYTHING = [{"type": "insecureAcceptAnything"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """Files that Podman and skopeo judge by. `registries` is None where they find their own."""

    policy: Path
    registries: Path | None

    def skopeo(self) -> list[str]:
        """skopeo's options, before its command."""
        argv = ["--policy", str(self.policy)]
        return [*argv, "--registries.d", str(self.registries)] if self.registries else argv

    def podman(self) -> list[str]:
        """The option of `podman build`, `run` and `save`; rbuild lets none of them ask a registry."""
        return ["--signature-policy", str(self.policy)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A policy, where signatures are looked for, and the keys that the policy names by path.

    `file` is what people call the policy. `digest` changes with all that decides.
    """

    file: str
    policy: Policy
    attachments: Attachments
    keys: Mapping[str, bytes] = field(repr=False)
    registries: Mapping[str, bytes] = field(repr=False)

    @property
    def digest(self) -> Digest:
        parts = [canonical_json(self._document()), *(data for _, data in sorted(self.registries.items()))]
        return Digest.of(b"".join(bytes.fromhex(Digest.of(part).hex) for part in parts))

    def public_key(self, key: Key) -> bytes:
        """The bytes of a key that the policy names."""
        if key.data is not None:
            return key.data
        assert key.path is not None
        if key.path not in self.keys:  # only in a policy of the user's own
            raise RbuildError("the policy's key cannot be read", where=Where(file=key.path))
        return self.keys[key.path]

    def asks_nothing(self, image: Reference) -> bool:
        """Whether the policy takes an image as it is."""
        from rbuild.trust.policy import Accept

        return all(isinstance(one, Accept) for one in self.policy.requirements(image)[1])

    def handed(self, store: Store) -> Handed:
        """The policy as files that no path leads out of, kept in the store: its keys are in it.

        What rbuild itself hands to Podman and takes from it needs no entry of the policy's: layouts below
        the store's tmp/, whose blobs were checked, and what Podman has in its storage.
        """
        folder = store.root / "cache" / "trust" / self.digest.hex
        if not folder.exists():
            with store.space():
                folder.parent.mkdir(parents=True, exist_ok=True)
                self._write(folder, store)
        return Handed(
            policy=folder / POLICY_FILE, registries=folder / REGISTRIES if self.registries else None
        )

    def _write(self, folder: Path, store: Store) -> None:
        making = Path(tempfile.mkdtemp(dir=folder.parent, prefix="making-"))
        try:
            (making / REGISTRIES).mkdir()
            document = self._document()
            transports = document.setdefault("transports", {})
            transports.setdefault("containers-storage", {"": _ANYTHING})
            transports.setdefault("oci", {})[str(store.tmp.resolve())] = _ANYTHING
            (making / POLICY_FILE).write_bytes(canonical_json(document))
            for number, (_, data) in enumerate(sorted(self.registries.items())):
                (making / REGISTRIES / f"{number:04}.yaml").write_bytes(data)
            making.rename(folder)
        except OSError:
            if not folder.exists():  # else another command was faster
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _document(self) -> dict[str, Any]:
        """The policy with its keys in the place of their paths."""
        document = copy.deepcopy(dict(self.policy.document))
        for requirements in _requirement_lists(document):
            for one in requirements:
                if one.get("type") == "sigstoreSigned":
                    _embed(one, self.keys)
        return document


def project_trust(root: Path, folder: str) -> Trust:
    """The policy in a folder of the project. Raises RbuildError with all that is wrong in it.

    Paths of keys are relative to that folder; a link must not lead one out of the project.
    """
    place = root / folder
    return _read(place, Path(folder), partial(_project_key, root, place), place / REGISTRIES, strict=True)


def user_trust(env: Mapping[str, str]) -> Trust | None:
    """The policy that the user's Podman goes by; None: there is none.

    What it has for other registries, and rbuild does not understand, is no error. Raises RbuildError for one
    that cannot be read.
    """
    own = Path(env.get("HOME", "/nonexistent")) / ".config" / "containers"
    folder = next((one for one in (own, _SYSTEM) if (one / POLICY_FILE).exists()), None)
    if folder is None:
        return None
    registries = own / REGISTRIES if (own / REGISTRIES).is_dir() else _SYSTEM / REGISTRIES
    return _read(folder, folder, Path, registries, strict=False)


def _read(
    folder: Path, shown: Path, key_place: Callable[[str], Path], registries: Path, *, strict: bool
) -> Trust:
    name = str(shown / POLICY_FILE)
    policy = read_policy(_bytes(folder / POLICY_FILE, name, MAX_SIZE), name, strict=strict)
    keys: dict[str, bytes] = {}
    problems: list[Problem] = []
    for key in policy.all_keys():
        if key.path is not None and key.path not in keys:
            try:
                keys[key.path] = _bytes(key_place(key.path), key.path, _MAX_KEY)
            except RbuildError as error:
                problems += error.problems if strict else ()
    files: dict[str, bytes] = {}
    if registries.is_dir():
        for path in sorted(registries.glob("*.yaml"))[:_MAX_FILES]:
            data = _bytes(path, str(path), MAX_SIZE)
            if any(line.strip() and not line.strip().startswith(b"#") for line in data.splitlines()):
                files[path.name] = data
    try:
        attachments = read_attachments((str(shown / REGISTRIES / path), data) for path, data in files.items())
    except RbuildError as error:
        problems += error.problems
    if problems:
        raise RbuildError(problems)
    return Trust(file=name, policy=policy, attachments=attachments, keys=keys, registries=files)


def _project_key(root: Path, folder: Path, path: str) -> Path:
    place = folder / path
    if not Path(path).is_absolute() and not place.resolve().is_relative_to(root.resolve()):
        raise RbuildError(
            f"the key {path!r} is not in the project",
            where=Where(file=str(folder.relative_to(root) / POLICY_FILE)),
            hint="put it beside the policy, or name it by an absolute path",
        )
    return place


def _bytes(path: Path, shown: str, limit: int) -> bytes:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # or a FIFO
            data = file.read(limit + 1)
    except OSError as error:
        hint = (
            "a policy's keys are public ones: rbuild keygen makes FILE.pub" if ".json" not in shown else None
        )
        raise RbuildError(f"cannot be read: {error.strerror}", where=Where(file=shown), hint=hint) from error
    if len(data) > limit:
        raise RbuildError(f"has more than {limit} bytes", where=Where(file=shown))
    return data


def _requirement_lists(document: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    transports = document.get("transports", {}).values()
    return [document["default"], *(each for scoped in transports for each in scoped.values())]


def _embed(requirement: dict[str, Any], keys: Mapping[str, bytes]) -> None:
    def encoded(path: str) -> str:
        return base64.b64encode(keys[path]).decode()

    if requirement.get("keyPath") in keys:
        requirement["keyData"] = encoded(requirement.pop("keyPath"))
    elif all(path in keys for path in requirement.get("keyPaths") or (None,)):
        requirement["keyDatas"] = [encoded(path) for path in requirement.pop("keyPaths")]
