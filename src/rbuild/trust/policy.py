"""policy.json: what an image needs to be taken, by where it comes from.

Source: containers-policy.json(5). As there, a key that is not known makes the whole file invalid.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rbuild.errors import Problem, RbuildError, Where
from rbuild.image.canonicaljson import read_json
from rbuild.reference import Reference
from rbuild.suggest import did_you_mean
from rbuild.trust.identity import Identity, Kind, Name
from rbuild.yamlfile import Document, key_path

POLICY_FILE: Final = "policy.json"
MAX_SIZE: Final = 1 << 20
_MAX_NODES = 20_000
_MAX_KEYS = 100  # of one requirement

_IDENTITIES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "matchExact": (),
    "matchRepoDigestOrExact": (),
    "matchRepository": (),
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}
_SIGSTORE_KEYS = ("keyPath", "keyPaths", "keyData", "keyDatas")
# What Podman knows beside keys: certificates of an identity provider, a public log, a company's authority.
_SIGSTORE_OTHERS = (
    "fulcio",
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
    "pki",
)
_SIGNED_BY = ("keyType", "keyPath", "keyPaths", "keyData", "signedIdentity")


@dataclass(frozen=True, slots=True)
class Key:
    """Where a public key is: the path that the policy gives, or its bytes."""

    path: str | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """insecureAcceptAnything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """reject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """sigstoreSigned: by one of these keys, for an image of that identity."""

    keys: tuple[Key, ...]
    identity: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """What Podman may know and rbuild does not; `what` names it."""

    what: str


Requirement = Accept | Reject | Signed | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy as rbuild judges by it, and the document that it was read from.

    `docker` is the requirements by scope, "" for all registries that no other scope has.
    """

    default: tuple[Requirement, ...]
    docker: Mapping[str, tuple[Requirement, ...]]
    document: Mapping[str, Any]

    def requirements(self, image: Reference) -> tuple[str | None, tuple[Requirement, ...]]:
        """What an image needs, which is named by its digest, and the scope that says so (None: default)."""
        for scope in scopes(image):
            if scope in self.docker:
                return scope, self.docker[scope]
        return None, self.default

    def all_keys(self) -> Iterator[Key]:
        """Every key that the requirements on registries name."""
        for requirements in (self.default, *self.docker.values()):
            for one in requirements:
                if isinstance(one, Signed):
                    yield from one.keys


def scopes(image: Reference) -> Iterator[str]:
    """The scopes that an image is in, the most specific first; "" is that of all images in registries."""
    yield f"{image.name}@{image.digest}"
    name = image.name
    while True:
        yield name
        name, slash, _ = name.rpartition("/")
        if not slash:
            break
    host = image.registry.rpartition(":")[0] or image.registry
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def read_policy(data: bytes, file: str, *, strict: bool = True) -> Policy:
    """Read the bytes of a policy.json. Raises RbuildError with all that is wrong in it, with lines.

    Unless `strict`, a requirement that makes no sense here is one that rbuild does not know: the file is
    another program's, which may be newer, and what the requirement is for is refused.
    """
    try:
        document = read_json(data, "the policy", MAX_SIZE)
    except RbuildError as error:
        hint = "the form is containers-policy.json(5)"
        raise RbuildError(error.problems[0].what, where=Where(file=file), hint=hint) from None
    reader = _Reader(data, file, strict=strict)
    reader.only(document, ("default", "transports"), ())
    default = reader.requirements(document.get("default"), ("default",))
    docker: dict[str, tuple[Requirement, ...]] = {}
    for transport, scoped in reader.mapping(document.get("transports", {}), ("transports",)).items():
        path = ("transports", transport)
        for scope, written in reader.mapping(scoped, path).items():
            found = reader.requirements(written, (*path, scope))
            if transport == "docker":
                reader.check_scope(scope, (*path, scope))
                docker[scope] = found
    reader.finish()
    return Policy(default=default, docker=docker, document=document)


class _Reader:
    """Reads the parts, and collects what is wrong with them."""

    def __init__(self, data: bytes, file: str, *, strict: bool) -> None:
        self._data = data
        self._file = file
        self._strict = strict
        self._problems: list[Problem] = []

    def problem(self, what: str, path: tuple[str | int, ...], hint: str | None = None) -> None:
        self._problems.append(Problem(what=what, where=self._where(path), hint=hint))

    def finish(self) -> None:
        if self._problems:
            raise RbuildError(self._problems)

    def _where(self, path: tuple[str | int, ...]) -> Where:
        try:  # JSON is YAML, nearly always: for the line
            return Document(self._data, file=self._file, max_size=MAX_SIZE, max_nodes=_MAX_NODES).where(*path)
        except RbuildError:
            return Where(file=self._file, key=key_path(path))

    def only(self, value: Mapping[str, Any], known: tuple[str, ...], path: tuple[str | int, ...]) -> None:
        for key in value:
            if key not in known:
                hint = did_you_mean(key, known) or f"there are {', '.join(known)}"
                self.problem("is not known here", (*path, key), hint)

    def mapping(self, value: object, path: tuple[str | int, ...]) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self.problem("is not an object", path)
        return {}

    def text(self, value: object, path: tuple[str | int, ...]) -> str:
        if isinstance(value, str) and value:
            return value
        self.problem("is not a text", path)
        return ""

    def check_scope(self, scope: str, path: tuple[str | int, ...]) -> None:
        wild = scope.removeprefix("*.")
        if scope and ("*" in wild or scope.startswith("docker://") or scope.endswith("/")):
            self.problem(
                "is no scope",
                path,
                "write HOST[:PORT][/PATH], such as quay.io/team, or *.example.org",
            )

    def requirements(self, value: object, path: tuple[str | int, ...]) -> tuple[Requirement, ...]:
        if not isinstance(value, list) or not value:
            hint = '[{"type": "insecureAcceptAnything"}] asks for nothing, [{"type": "reject"}] takes nothing'
            self.problem("is not a list of requirements", path, hint)
            return (Reject(),)
        return tuple(self._judged(one, (*path, at)) for at, one in enumerate(value))

    def _judged(self, value: object, path: tuple[str | int, ...]) -> Requirement:
        if self._strict:
            return self._requirement(value, path)
        apart = _Reader(self._data, self._file, strict=True)
        found = apart._requirement(value, path)
        if apart._problems:
            return Unknown(what=f"something else ({apart._problems[0].where}: {apart._problems[0].what})")
        return found

    def _requirement(self, value: object, path: tuple[str | int, ...]) -> Requirement:
        written = self.mapping(value, path)
        kind = written.get("type")
        match kind:
            case "insecureAcceptAnything":
                self.only(written, ("type",), path)
                return Accept()
            case "reject":
                self.only(written, ("type",), path)
                return Reject()
            case "sigstoreSigned":
                return self._sigstore(written, path)
            case "signedBy":
                self.only(written, ("type", *_SIGNED_BY), path)
                self._identity(written.get("signedIdentity"), (*path, "signedIdentity"))
                return Unknown(what="signedBy (GPG)")
        self.problem(
            f"is no type of requirement: {str(kind)[:80]!r}",
            (*path, "type"),
            "there are insecureAcceptAnything, reject, sigstoreSigned and signedBy",
        )
        return Reject()

    def _sigstore(self, written: Mapping[str, Any], path: tuple[str | int, ...]) -> Requirement:
        self.only(written, ("type", *_SIGSTORE_KEYS, *_SIGSTORE_OTHERS, "signedIdentity"), path)
        identity = self._identity(written.get("signedIdentity"), (*path, "signedIdentity"))
        others = [name for name in _SIGSTORE_OTHERS if name in written]
        said = [name for name in _SIGSTORE_KEYS if name in written]
        if len(said) != 1 and not others:
            what = f"more than one key: {', '.join(said)}" if said else "no key"
            self.problem(f"has {what}", path, f"give it one of {', '.join(_SIGSTORE_KEYS)}")
            return Reject()
        if others:
            return Unknown(what=f"sigstoreSigned with {', '.join(others)}")
        return Signed(keys=tuple(self._keys(said[0], written[said[0]], (*path, said[0]))), identity=identity)

    def _keys(self, name: str, value: object, path: tuple[str | int, ...]) -> Iterator[Key]:
        values: list[object] = [value]
        if name.endswith("s"):
            if not isinstance(value, list) or not 0 < len(value) <= _MAX_KEYS:
                self.problem(f"is not a list of one to {_MAX_KEYS}", path)
                return
            values = value
        for one in values:
            text = self.text(one, path)
            if name.startswith("keyPath"):
                yield Key(path=text)
                continue
            try:
                yield Key(data=base64.b64decode(text, validate=True))
            except binascii.Error:
                self.problem("is not base64 of a public key", path, "base64 -w0 FILE.pub")

    def _identity(self, value: object, path: tuple[str | int, ...]) -> Identity:
        if value is None:
            return Identity()
        written = self.mapping(value, path)
        kind = next((known for known in _IDENTITIES if known == written.get("type")), None)
        if kind is None:
            known = ", ".join(_IDENTITIES)
            self.problem("is no type of identity", (*path, "type"), f"there are {known}")
            return Identity()
        fields = _IDENTITIES[kind]
        self.only(written, ("type", *fields), path)
        said = [self.text(written.get(name), (*path, name)) for name in fields]
        if kind == "remapIdentity":
            return Identity(kind=kind, prefix=said[0], signed_prefix=said[1])
        if said and said[0]:
            self._check_name(said[0], (*path, fields[0]), exact=kind == "exactReference")
        return Identity(kind=kind, reference=said[0] if said else "")

    def _check_name(self, text: str, path: tuple[str | int, ...], *, exact: bool) -> None:
        try:
            name = Name.parse(text)
        except RbuildError as error:
            self.problem(error.problems[0].what, path, error.problems[0].hint)
            return
        if exact and not name.exact:
            self.problem("has neither a tag nor a digest", path, "exactRepository takes a repository")
